"""What the page, the HTTP server and the MCP server share: the gate, limits, and running uvicorn."""
