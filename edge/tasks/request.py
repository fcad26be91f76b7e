"""From a client's bytes to a task: pure, and the only place where its input is believed."""

import hashlib
import json
import math
import re
from dataclasses import dataclass
from typing import Any, Final, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from edge.tasks.errors import BodyInvalid, FieldError
from schemas.errors import Forbidden, InvalidRequest
from schemas.ids import TaskId, TenantId, keyed_task_id, subject_token
from schemas.message import encode
from schemas.task import TaskRequest

Form = TypeVar("Form", bound=BaseModel)

# one without an end is one too: else each quote in it would be looked behind, to the end of the body
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_BRACKET: Final = re.compile(rb"[\[\]{}]")
_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")


def check_depth(body: bytes, max_depth: int) -> None:
    """Raise `BodyInvalid` when objects and arrays nest deeper than `max_depth`; linear, and without recursion."""
    if body.count(b"{") + body.count(b"[") <= max_depth:
        return
    depth = 0
    for bracket in _BRACKET.finditer(_STRING.sub(b"", body)):
        depth += 1 if bracket[0] in b"{[" else -1
        if depth > max_depth:
            raise _broken(f"the body nests deeper than {max_depth} levels: flatten it")


def check_json(body: bytes) -> None:
    """Raise `BodyInvalid` unless `body` is one JSON text (RFC 8259) without duplicate keys or infinite numbers."""
    try:
        _STRICT.decode(body.decode())
    except BodyInvalid:
        raise
    except UnicodeDecodeError as error:
        raise _broken(f"the body is not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise _broken(f"the body is not JSON: {error.msg} at line {error.lineno} column {error.colno}") from None
    except (ValueError, RecursionError):
        raise _broken("the body holds a number or a nesting that is too large") from None


def read_request(body: bytes, max_depth: int) -> TaskRequest:
    """The task a body asks for. Raises `BodyInvalid` with a JSON Pointer for each fault; types are never coerced."""
    return read_form(body, max_depth, TaskRequest, "the body is not a task: see errors")


def read_form(body: bytes, max_depth: int, form: type[Form], complaint: str) -> Form:
    """The form in a body. Raises `BodyInvalid` with a JSON Pointer for each fault; types are never coerced."""
    check_depth(body, max_depth)
    check_json(body)
    try:
        return form.model_validate_json(body, strict=True)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        raise BodyInvalid(complaint, [fault(f) for f in faults]) from None


def check_tenant(request: TaskRequest, tenant_id: TenantId) -> None:
    """Raise `Forbidden` when the body speaks for a tenant that is not the credential's."""
    if request.tenant_id is not None and request.tenant_id != tenant_id:
        raise Forbidden("tenant_id is not the tenant of this credential: leave it out")


def check_timeout(request: TaskRequest, longest_s: float) -> None:
    """Raise `BodyInvalid` when the task asks for more time than any task may have here."""
    asked_s = request.sla.timeout_s
    if asked_s is not None and asked_s > longest_s:
        detail = f"{asked_s:g} s is longer than a task may take here: {longest_s:g} s, half of what the log keeps"
        raise BodyInvalid(f"sla.timeout_s: {detail}", [FieldError("/sla/timeout_s", detail)])


def fingerprint(request: TaskRequest) -> str:
    """SHA-256 over the canonical request: sorted keys, defaults filled in, without ids, which the task has anyway."""
    sla = request.sla
    content = (
        request.intent, request.params, request.preferred_engine, request.priority, request.metadata,
        sla.budget_usd, sla.p95_ms, sla.privacy, sla.timeout_s,
    )  # fmt: skip
    return hashlib.sha256(encode(content, sort_keys=True)).hexdigest()


@dataclass(frozen=True, slots=True)
class Naming:
    """Which task a submission means. `chosen` is None when the edge may mint any id."""

    chosen: TaskId | None
    keyed: bool


def name_task(key: str | None, request: TaskRequest, tenant_id: TenantId) -> Naming:
    """The task named by an idempotency key, else by the body. Raises `InvalidRequest`."""
    if key is None:
        return Naming(TaskId(request.task_id) if request.task_id else None, keyed=False)
    if not _KEY.fullmatch(key):
        raise InvalidRequest("Idempotency-Key must be 1 to 255 visible ASCII characters")
    if request.task_id is not None:
        raise InvalidRequest("Idempotency-Key and task_id both name the task: send one of them")
    return Naming(keyed_task_id(tenant_id, key), keyed=True)


def read_task_id(text: str) -> TaskId:
    """A task id from a path. Raises `InvalidRequest`."""
    return TaskId(subject_token(text))


def fault(details: ErrorDetails) -> FieldError:
    """What pydantic found wrong, with a JSON Pointer to the place."""
    parts = (str(part).replace("~", "~0").replace("/", "~1") for part in details["loc"])
    return FieldError("".join(f"/{part[:100]}" for part in parts), details["msg"])


def _broken(message: str) -> BodyInvalid:
    return BodyInvalid(message, [FieldError("", message)])


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _broken("an object of the body holds the same key twice: keep one")
    return found


def _constant(name: str) -> NoReturn:
    raise _broken(f"{name} is not JSON: use null or a number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _broken(f"{text[:40]} is too large for a number")
    return value


_STRICT: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_constant, parse_float=_finite)
