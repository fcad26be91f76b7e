"""The gRPC door: `aion.v1.AionTasks`, health and reflection. Alone here is gRPC imported (extra `grpc`)."""
