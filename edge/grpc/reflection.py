"""Server reflection, v1 and v1alpha: how grpcurl and others learn what can be called.

grpcio-reflection 1.85 has v1alpha alone. v1 has the same messages in another package (grpc/grpc-proto), so both are
answered by one servicer, and the file that describes v1 is that of v1alpha with its package renamed.
"""

from collections.abc import AsyncIterable, Iterable
from contextlib import aclosing
from typing import Any, Final

import grpc
from google.protobuf import duration_pb2, struct_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection import aio

from aion.v1 import tasks_pb2
from edge.grpc.calls import Calls

V1ALPHA: Final = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"].full_name
V1: Final = V1ALPHA.replace("v1alpha", "v1")


def methods(calls: Calls, services: Iterable[str]) -> "tuple[grpc.GenericRpcHandler, ...]":
    """The service under both of its names; it lists `services` and itself."""
    servicer = aio.ReflectionServicer([*services, V1, V1ALPHA], pool())

    async def info(requests: AsyncIterable[Any], wire: Any) -> None:
        async with calls.stranger(wire), aclosing(servicer.ServerReflectionInfo(requests, wire)) as answers:
            async for answer in answers:
                await wire.write(answer)

    handler = grpc.stream_stream_rpc_method_handler(
        info,
        reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    return tuple(
        grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler}) for name in (V1, V1ALPHA)
    )


def pool() -> DescriptorPool:
    """Just what this server speaks: what else is loaded in the process is nobody's business."""
    found = DescriptorPool()
    for module in (struct_pb2, tasks_pb2, duration_pb2, error_details_pb2, health_pb2, reflection_pb2):
        found.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    found.AddSerializedFile(_v1().SerializeToString())
    return found


def _v1() -> FileDescriptorProto:
    """`grpc/reflection/v1/reflection.proto`."""
    file = FileDescriptorProto.FromString(reflection_pb2.DESCRIPTOR.serialized_pb)
    file.name, file.package = "grpc/reflection/v1/reflection.proto", V1.rpartition(".")[0]
    for message in file.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = _renamed(field.type_name)
    for service in file.service:
        for method in service.method:
            method.input_type, method.output_type = _renamed(method.input_type), _renamed(method.output_type)
    return file


def _renamed(type_name: str) -> str:
    return type_name.replace(".reflection.v1alpha.", ".reflection.v1.")
