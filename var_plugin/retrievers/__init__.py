"""Search over all spaces of an index, to moments, and what carries them into other programs."""
