"""The auth actor: issues, rotates and revokes API keys and tokens, and alone writes what edges believe."""
