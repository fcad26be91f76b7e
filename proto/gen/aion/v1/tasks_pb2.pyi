from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Priority(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRIORITY_UNSPECIFIED: _ClassVar[Priority]
    PRIORITY_HIGH: _ClassVar[Priority]
    PRIORITY_NORMAL: _ClassVar[Priority]
    PRIORITY_LOW: _ClassVar[Priority]

class Privacy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRIVACY_UNSPECIFIED: _ClassVar[Privacy]
    PRIVACY_LOCAL_ONLY: _ClassVar[Privacy]
    PRIVACY_ALLOW_API: _ClassVar[Privacy]
    PRIVACY_HYBRID: _ClassVar[Privacy]

class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STATUS_UNSPECIFIED: _ClassVar[Status]
    STATUS_OK: _ClassVar[Status]
    STATUS_ERROR: _ClassVar[Status]
    STATUS_TIMEOUT: _ClassVar[Status]
    STATUS_CANCELED: _ClassVar[Status]

class Route(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROUTE_UNSPECIFIED: _ClassVar[Route]
    ROUTE_LOCAL: _ClassVar[Route]
    ROUTE_API: _ClassVar[Route]
    ROUTE_HYBRID: _ClassVar[Route]

class ChosenBy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CHOSEN_BY_UNSPECIFIED: _ClassVar[ChosenBy]
    CHOSEN_BY_AI_ROUTER: _ClassVar[ChosenBy]
    CHOSEN_BY_POLICY_OVERRIDE: _ClassVar[ChosenBy]

class TaskState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TASK_STATE_UNSPECIFIED: _ClassVar[TaskState]
    TASK_STATE_ACCEPTED: _ClassVar[TaskState]
    TASK_STATE_ROUTED: _ClassVar[TaskState]
    TASK_STATE_STARTED: _ClassVar[TaskState]
    TASK_STATE_ATTEMPT_FAILED: _ClassVar[TaskState]
    TASK_STATE_ENDED: _ClassVar[TaskState]
PRIORITY_UNSPECIFIED: Priority
PRIORITY_HIGH: Priority
PRIORITY_NORMAL: Priority
PRIORITY_LOW: Priority
PRIVACY_UNSPECIFIED: Privacy
PRIVACY_LOCAL_ONLY: Privacy
PRIVACY_ALLOW_API: Privacy
PRIVACY_HYBRID: Privacy
STATUS_UNSPECIFIED: Status
STATUS_OK: Status
STATUS_ERROR: Status
STATUS_TIMEOUT: Status
STATUS_CANCELED: Status
ROUTE_UNSPECIFIED: Route
ROUTE_LOCAL: Route
ROUTE_API: Route
ROUTE_HYBRID: Route
CHOSEN_BY_UNSPECIFIED: ChosenBy
CHOSEN_BY_AI_ROUTER: ChosenBy
CHOSEN_BY_POLICY_OVERRIDE: ChosenBy
TASK_STATE_UNSPECIFIED: TaskState
TASK_STATE_ACCEPTED: TaskState
TASK_STATE_ROUTED: TaskState
TASK_STATE_STARTED: TaskState
TASK_STATE_ATTEMPT_FAILED: TaskState
TASK_STATE_ENDED: TaskState

class SubmitRequest(_message.Message):
    __slots__ = ("task", "idempotency_key", "wait_s")
    TASK_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    WAIT_S_FIELD_NUMBER: _ClassVar[int]
    task: TaskRequest
    idempotency_key: str
    wait_s: float
    def __init__(self, task: _Optional[_Union[TaskRequest, _Mapping]] = ..., idempotency_key: _Optional[str] = ..., wait_s: _Optional[float] = ...) -> None: ...

class SubmitResponse(_message.Message):
    __slots__ = ("task_id", "replayed", "result")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    replayed: bool
    result: TaskResult
    def __init__(self, task_id: _Optional[str] = ..., replayed: _Optional[bool] = ..., result: _Optional[_Union[TaskResult, _Mapping]] = ...) -> None: ...

class StreamRequest(_message.Message):
    __slots__ = ("task_id", "after", "after_delta")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    AFTER_DELTA_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    after: int
    after_delta: int
    def __init__(self, task_id: _Optional[str] = ..., after: _Optional[int] = ..., after_delta: _Optional[int] = ...) -> None: ...

class StreamEvent(_message.Message):
    __slots__ = ("sequence", "progress", "token", "partial", "done", "error", "gap", "delta")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    PARTIAL_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    GAP_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    progress: Progress
    token: Token
    partial: Partial
    done: TaskResult
    error: TaskError
    gap: Gap
    delta: int
    def __init__(self, sequence: _Optional[int] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., token: _Optional[_Union[Token, _Mapping]] = ..., partial: _Optional[_Union[Partial, _Mapping]] = ..., done: _Optional[_Union[TaskResult, _Mapping]] = ..., error: _Optional[_Union[TaskError, _Mapping]] = ..., gap: _Optional[_Union[Gap, _Mapping]] = ..., delta: _Optional[int] = ...) -> None: ...

class StatusByIdRequest(_message.Message):
    __slots__ = ("task_id",)
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    def __init__(self, task_id: _Optional[str] = ...) -> None: ...

class StatusByIdResponse(_message.Message):
    __slots__ = ("task_id", "state", "result")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    state: TaskState
    result: TaskResult
    def __init__(self, task_id: _Optional[str] = ..., state: _Optional[_Union[TaskState, str]] = ..., result: _Optional[_Union[TaskResult, _Mapping]] = ...) -> None: ...

class CancelRequest(_message.Message):
    __slots__ = ("task_id",)
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    def __init__(self, task_id: _Optional[str] = ...) -> None: ...

class CancelResponse(_message.Message):
    __slots__ = ("result",)
    RESULT_FIELD_NUMBER: _ClassVar[int]
    result: TaskResult
    def __init__(self, result: _Optional[_Union[TaskResult, _Mapping]] = ...) -> None: ...

class ListIntentsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListIntentsResponse(_message.Message):
    __slots__ = ("intents",)
    INTENTS_FIELD_NUMBER: _ClassVar[int]
    intents: _containers.RepeatedCompositeFieldContainer[Intent]
    def __init__(self, intents: _Optional[_Iterable[_Union[Intent, _Mapping]]] = ...) -> None: ...

class Intent(_message.Message):
    __slots__ = ("intent", "engines", "modules")
    INTENT_FIELD_NUMBER: _ClassVar[int]
    ENGINES_FIELD_NUMBER: _ClassVar[int]
    MODULES_FIELD_NUMBER: _ClassVar[int]
    intent: str
    engines: _containers.RepeatedScalarFieldContainer[str]
    modules: _containers.RepeatedCompositeFieldContainer[Module]
    def __init__(self, intent: _Optional[str] = ..., engines: _Optional[_Iterable[str]] = ..., modules: _Optional[_Iterable[_Union[Module, _Mapping]]] = ...) -> None: ...

class Module(_message.Message):
    __slots__ = ("name", "version", "description", "input_schema")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    INPUT_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    description: str
    input_schema: _struct_pb2.Struct
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., description: _Optional[str] = ..., input_schema: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class TaskRequest(_message.Message):
    __slots__ = ("schema_version", "task_id", "tenant_id", "intent", "params", "preferred_engine", "priority", "sla", "metadata")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SCHEMA_VERSION_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    INTENT_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    PREFERRED_ENGINE_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    SLA_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    schema_version: str
    task_id: str
    tenant_id: str
    intent: str
    params: _struct_pb2.Struct
    preferred_engine: str
    priority: Priority
    sla: Sla
    metadata: _containers.ScalarMap[str, str]
    def __init__(self, schema_version: _Optional[str] = ..., task_id: _Optional[str] = ..., tenant_id: _Optional[str] = ..., intent: _Optional[str] = ..., params: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., preferred_engine: _Optional[str] = ..., priority: _Optional[_Union[Priority, str]] = ..., sla: _Optional[_Union[Sla, _Mapping]] = ..., metadata: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Sla(_message.Message):
    __slots__ = ("budget_usd", "p95_ms", "privacy", "timeout_s")
    BUDGET_USD_FIELD_NUMBER: _ClassVar[int]
    P95_MS_FIELD_NUMBER: _ClassVar[int]
    PRIVACY_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    budget_usd: str
    p95_ms: int
    privacy: Privacy
    timeout_s: float
    def __init__(self, budget_usd: _Optional[str] = ..., p95_ms: _Optional[int] = ..., privacy: _Optional[_Union[Privacy, str]] = ..., timeout_s: _Optional[float] = ...) -> None: ...

class TaskResult(_message.Message):
    __slots__ = ("schema_version", "task_id", "intent", "status", "engine", "result", "usage", "error")
    SCHEMA_VERSION_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    INTENT_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    schema_version: str
    task_id: str
    intent: str
    status: Status
    engine: Engine
    result: _struct_pb2.Struct
    usage: UsageReport
    error: TaskError
    def __init__(self, schema_version: _Optional[str] = ..., task_id: _Optional[str] = ..., intent: _Optional[str] = ..., status: _Optional[_Union[Status, str]] = ..., engine: _Optional[_Union[Engine, _Mapping]] = ..., result: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., usage: _Optional[_Union[UsageReport, _Mapping]] = ..., error: _Optional[_Union[TaskError, _Mapping]] = ...) -> None: ...

class Engine(_message.Message):
    __slots__ = ("route", "chosen_by", "reason")
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    CHOSEN_BY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    route: Route
    chosen_by: ChosenBy
    reason: str
    def __init__(self, route: _Optional[_Union[Route, str]] = ..., chosen_by: _Optional[_Union[ChosenBy, str]] = ..., reason: _Optional[str] = ...) -> None: ...

class UsageReport(_message.Message):
    __slots__ = ("latency_ms", "tokens", "cost_usd")
    LATENCY_MS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    COST_USD_FIELD_NUMBER: _ClassVar[int]
    latency_ms: int
    tokens: int
    cost_usd: float
    def __init__(self, latency_ms: _Optional[int] = ..., tokens: _Optional[int] = ..., cost_usd: _Optional[float] = ...) -> None: ...

class TaskError(_message.Message):
    __slots__ = ("code", "message", "retryable")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RETRYABLE_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    retryable: bool
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ..., retryable: _Optional[bool] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("state", "at_ms", "engine")
    STATE_FIELD_NUMBER: _ClassVar[int]
    AT_MS_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    state: TaskState
    at_ms: int
    engine: str
    def __init__(self, state: _Optional[_Union[TaskState, str]] = ..., at_ms: _Optional[int] = ..., engine: _Optional[str] = ...) -> None: ...

class Token(_message.Message):
    __slots__ = ("text",)
    TEXT_FIELD_NUMBER: _ClassVar[int]
    text: str
    def __init__(self, text: _Optional[str] = ...) -> None: ...

class Gap(_message.Message):
    __slots__ = ("missing",)
    MISSING_FIELD_NUMBER: _ClassVar[int]
    missing: int
    def __init__(self, missing: _Optional[int] = ...) -> None: ...

class Partial(_message.Message):
    __slots__ = ("result",)
    RESULT_FIELD_NUMBER: _ClassVar[int]
    result: _struct_pb2.Struct
    def __init__(self, result: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...
