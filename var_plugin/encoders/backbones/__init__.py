"""Pretrained feature extractors, one file each."""
