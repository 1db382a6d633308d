"""What is stored: one Milvus collection per space and a catalogue of videos."""
