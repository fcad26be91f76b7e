"""More than one edge's CPU can take: what is done well, how fast the rest is refused, and how it is afterwards."""
