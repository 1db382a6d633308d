"""Benchmarks of Video Anomaly Retrieval as lists of pairs of a video and its query."""
