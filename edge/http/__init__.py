"""The HTTP side of the edge: one handler, routes, heads and bodies, problems."""
