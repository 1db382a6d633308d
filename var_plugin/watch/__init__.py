"""Watching folders and RTSP cameras, and alerts."""
