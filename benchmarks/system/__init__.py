"""The system as a person starts it: all servers, one process per actor, and HTTP clients with an API key."""
