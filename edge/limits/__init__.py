"""How much each caller, address, tenant and route may ask: token buckets, shared in Redis, kept alone without it."""
