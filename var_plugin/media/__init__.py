"""Files in; frames, sound, segments and thumbnails out."""
