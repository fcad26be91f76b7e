"""A call as gRPC hands it over."""

from typing import TypeAlias

import grpc

Wire: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
