"""Benchmarks of Video Anomaly Retrieval as lists of pairs: a video and the one query that belongs to it."""
