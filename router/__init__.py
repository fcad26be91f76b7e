"""The router: a pure decision and the thin actor around it."""
