"""Every error AION raises on purpose, with what each door says for it.

    AionError                     code               HTTP  gRPC                 retryable
    |- InvalidRequest             invalid_request    400   INVALID_ARGUMENT     no
    |  |- UnknownIntent           unknown_intent     404   NOT_FOUND            no
    |  |- InputInvalid            input_invalid      400   INVALID_ARGUMENT     no
    |  `- PayloadTooLarge         payload_too_large  413   RESOURCE_EXHAUSTED   no
    |- Unauthenticated            unauthenticated    401   UNAUTHENTICATED      no
    |- Forbidden                  forbidden          403   PERMISSION_DENIED    no
    |  `- InsufficientScope       insufficient_scope 403   PERMISSION_DENIED    no
    |- NotFound                   not_found          404   NOT_FOUND            no
    |- Conflict                   conflict           409   ABORTED              no
    |  |- WrongSequence           wrong_sequence     409   ABORTED              no
    |  |- KeyReused               key_reused         422   INVALID_ARGUMENT     no
    |  |- AlreadyEnded            already_ended      409   FAILED_PRECONDITION  no
    |  |- Cancelled               cancelled          409   CANCELLED            no
    |  `- TakenOver               taken_over         409   ABORTED              no
    |- TooManyRequests            too_many_requests  429   RESOURCE_EXHAUSTED   yes
    |- Unavailable                unavailable        503   UNAVAILABLE          yes
    |  |- NoResponders            no_responders      503   UNAVAILABLE          yes
    |  |- LogFull                 log_full           503   UNAVAILABLE          yes
    |  |- Overloaded              overloaded         503   UNAVAILABLE          yes
    |  `- BusDisconnected         bus_disconnected   503   UNAVAILABLE          yes
    |- DeadlineExceeded           deadline_exceeded  504   DEADLINE_EXCEEDED    no
    |- ModuleFailed               module_error       500   INTERNAL             no
    |  |- ModuleTrap              module_error       500   INTERNAL             no
    |  |- ModuleTimeout           module_timeout     504   DEADLINE_EXCEEDED    no
    |  |- ModuleOutOfMemory       module_oom         500   INTERNAL             no
    |  |- OutputTooLarge          output_too_large   500   INTERNAL             no
    |  `- OutputInvalid           output_invalid     500   INTERNAL             no
    |- PoisonTask                 poison             500   INTERNAL             no
    |- PackageInvalid             package_invalid    400   INVALID_ARGUMENT     no
    |- LocalServerError           local_server       500   INTERNAL             no
    |- Misconfigured              misconfigured      500   INTERNAL             no
    |- ServerIncompatible         server_incompatible 500  INTERNAL             no
    `- ProjectionHalted           projection_halted  500   INTERNAL             no

`retryable` means: the same call may succeed later with nothing changed by the caller.
"""

from typing import ClassVar


class AionError(Exception):
    """The root. Messages name the offending value and the fix; they never hold a payload or a secret."""

    code: ClassVar[str] = "internal"
    http_status: ClassVar[int] = 500
    grpc_status: ClassVar[str] = "INTERNAL"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_s = retry_after_s


class InvalidRequest(AionError):
    """The caller sent something that can never be accepted as it is."""

    code = "invalid_request"
    http_status = 400
    grpc_status = "INVALID_ARGUMENT"


class UnknownIntent(InvalidRequest):
    """No admitted package and no engine answers the named intent."""

    code = "unknown_intent"
    http_status = 404
    grpc_status = "NOT_FOUND"


class InputInvalid(InvalidRequest):
    """The params do not match the input schema of the package that answers the intent."""

    code = "input_invalid"


class PayloadTooLarge(InvalidRequest):
    """A body, message or result is over its bound."""

    code = "payload_too_large"
    http_status = 413
    grpc_status = "RESOURCE_EXHAUSTED"


class Unauthenticated(AionError):
    """No credential, or one that is malformed, unknown, expired or revoked."""

    code = "unauthenticated"
    http_status = 401
    grpc_status = "UNAUTHENTICATED"


class Forbidden(AionError):
    """The credential is good and does not reach this far."""

    code = "forbidden"
    http_status = 403
    grpc_status = "PERMISSION_DENIED"


class InsufficientScope(Forbidden):
    """The credential lacks a scope, which the message names."""

    code = "insufficient_scope"


class NotFound(AionError):
    """There is no such thing, or it belongs to another tenant: the answer is the same."""

    code = "not_found"
    http_status = 404
    grpc_status = "NOT_FOUND"


class Conflict(AionError):
    """What is stored contradicts the request."""

    code = "conflict"
    http_status = 409
    grpc_status = "ABORTED"


class WrongSequence(Conflict):
    """A compare-and-set append lost: something else was appended to the task first."""

    code = "wrong_sequence"


class KeyReused(Conflict):
    """An Idempotency-Key came back with another body."""

    code = "key_reused"
    http_status = 422
    grpc_status = "INVALID_ARGUMENT"


class AlreadyEnded(Conflict):
    """The task has its terminal event; nothing may follow it."""

    code = "already_ended"
    grpc_status = "FAILED_PRECONDITION"


class Cancelled(Conflict):
    """The task was cancelled, so there is no answer."""

    code = "cancelled"
    grpc_status = "CANCELLED"


class TakenOver(Conflict):
    """Another instance writes for this projection now; this process should end rather than fight it."""

    code = "taken_over"


class TooManyRequests(AionError):
    """A bound of the caller or of a mailbox is reached; come back after `retry_after_s`."""

    code = "too_many_requests"
    http_status = 429
    grpc_status = "RESOURCE_EXHAUSTED"
    retryable = True


class Unavailable(AionError):
    """AION or something it needs cannot answer now."""

    code = "unavailable"
    http_status = 503
    grpc_status = "UNAVAILABLE"
    retryable = True


class NoResponders(Unavailable):
    """Nobody serves the asked subject at this moment."""

    code = "no_responders"


class LogFull(Unavailable):
    """The log reached `max_bytes` and refuses appends rather than dropping what is unread."""

    code = "log_full"


class Overloaded(Unavailable):
    """More waits than may: the request was refused before anything was done about it."""

    code = "overloaded"


class BusDisconnected(Unavailable):
    """The connection to the bus is down; it is being restored in the background."""

    code = "bus_disconnected"


class DeadlineExceeded(AionError):
    """The absolute deadline passed before the work was done."""

    code = "deadline_exceeded"
    http_status = 504
    grpc_status = "DEADLINE_EXCEEDED"


class ModuleFailed(AionError):
    """A sandboxed module did not produce an answer."""

    code = "module_error"


class ModuleTrap(ModuleFailed):
    """The module trapped, exited non-zero, or its cell died."""


class ModuleTimeout(ModuleFailed):
    """The module ran past its time limit and was stopped."""

    code = "module_timeout"
    http_status = 504
    grpc_status = "DEADLINE_EXCEEDED"


class ModuleOutOfMemory(ModuleFailed):
    """The module asked for more memory than its manifest allows."""

    code = "module_oom"


class OutputTooLarge(ModuleFailed):
    """The module wrote more than its output limit."""

    code = "output_too_large"


class OutputInvalid(ModuleFailed):
    """The module's answer does not match the package's output schema."""

    code = "output_invalid"


class PoisonTask(AionError):
    """Every process that worked on the task was gone before it had an answer, so nobody tries it any more."""

    code = "poison"


class PackageInvalid(AionError):
    """An agent package was refused: manifest, digest, size or compilation."""

    code = "package_invalid"
    http_status = 400
    grpc_status = "INVALID_ARGUMENT"


class LocalServerError(AionError):
    """A development server could not be installed, started or stopped."""

    code = "local_server"


class Misconfigured(AionError):
    """A setting is unknown, missing or contradicts another."""

    code = "misconfigured"


class ServerIncompatible(AionError):
    """A server is too old, or ignored or changed a configuration it was asked for."""

    code = "server_incompatible"


class ProjectionHalted(AionError):
    """A projection's position does not fit the log it reads; writing on would lose or repeat events."""

    code = "projection_halted"
