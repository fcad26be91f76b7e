"""The REST door: JSON over HTTP, and server-sent events."""
