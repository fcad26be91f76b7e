"""The HTTP API described by itself: OpenAPI 3.1, a page that shows it, and a check that no release breaks it."""
