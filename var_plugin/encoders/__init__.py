"""Content of one modality in, vectors of one space out."""
