"""Shared by the page, the HTTP server and the MCP server: same-origin checks, request limits, uvicorn."""
