"""HTTP server: OpenAI-compatible embeddings, search over an index, health and metrics. `run.serve` starts it."""
