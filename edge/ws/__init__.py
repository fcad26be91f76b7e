"""The WebSocket door: many tasks on one socket, and one task's stream by upgrade (docs/websocket.md)."""
