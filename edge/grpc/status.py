"""Every refusal as a `google.rpc.Status`: the code of the error tree, and details for programs (AIP-193)."""

from typing import Final, NamedTuple

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from edge.tasks.errors import BodyInvalid
from schemas.errors import AionError

DOMAIN: Final = "aion"
DETAILS_KEY: Final = "grpc-status-details-bin"
_TEXT_BYTES: Final = 1024
_VIOLATIONS: Final = 8
_VIOLATION_CHARS: Final = 200
"""Details travel in a header block, for which clients have 8 KiB by default."""


class Refusal(NamedTuple):
    """How a call ends that went wrong."""

    code: grpc.StatusCode
    text: str
    trailing_metadata: tuple[tuple[str, bytes], ...]


def refusal(error: AionError, request_id: str) -> Refusal:
    """The status for an error of AION's tree: `ErrorInfo` always, `RetryInfo` wherever coming back can help."""
    code = grpc.StatusCode[error.grpc_status]
    details: list[Message] = [
        error_details_pb2.ErrorInfo(
            reason=error.code.upper(), domain=DOMAIN, metadata={"retryable": str(error.retryable).lower()}
        ),
        error_details_pb2.RequestInfo(request_id=request_id),
    ]
    if error.http_status in (429, 503):
        delay = Duration()
        delay.FromMilliseconds(round((error.retry_after_s or 1) * 1000))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    if isinstance(error, BodyInvalid):
        details.append(_violations(error))
    return _refusal(code, error.message, details)


def internal(request_id: str) -> Refusal:
    """The status for a fault of ours: it says nothing but where to look."""
    text = "this is a fault of the server: its log names it"
    return _refusal(grpc.StatusCode.INTERNAL, text, [error_details_pb2.RequestInfo(request_id=request_id)])


def _refusal(code: grpc.StatusCode, text: str, details: list[Message]) -> Refusal:
    text = text.encode("utf-8", "replace")[:_TEXT_BYTES].decode("utf-8", "ignore")
    status = status_pb2.Status(code=code.value[0], message=text)
    for detail in details:
        packed = Any()
        packed.Pack(detail)
        status.details.append(packed)
    return Refusal(code, text, ((DETAILS_KEY, status.SerializeToString()),))


def _violations(error: BodyInvalid) -> error_details_pb2.BadRequest:
    """Fields in the way of protobuf, `task.sla.timeout_s`, from JSON Pointers."""
    return error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(
                field=("task" + fault.pointer.replace("/", "."))[:_VIOLATION_CHARS],
                description=fault.detail[:_VIOLATION_CHARS],
            )
            for fault in error.errors[:_VIOLATIONS]
        ]
    )
