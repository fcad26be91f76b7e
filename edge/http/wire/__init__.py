"""The bytes below requests: connections with bounds, and what is turned away before it is parsed."""
