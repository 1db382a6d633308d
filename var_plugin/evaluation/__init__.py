"""How well retrieval and detection work: benchmarks, metrics, and tables beside the published numbers."""
