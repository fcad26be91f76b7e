"""The edge's certificates: read, proved, and replaced while it runs."""
