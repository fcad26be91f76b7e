"""Actors: the runtime, the small actors and the command line."""
