"""The HTTP server: OpenAI-compatible embeddings, search over an index, health and metrics. Started by `run.serve`."""
