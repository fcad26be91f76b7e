"""The edge: HTTP in, durable acceptance, waiting and streaming out."""
