"""The bridges: each writes what the log says into one outside system."""
