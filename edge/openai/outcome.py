"""What a task's end means at this door: a result to translate, or an error. Pure."""

from collections.abc import Callable
from typing import TypeVar

from bus.codec import error_of
from edge.openai.errors import Unanswered
from edge.tasks.intake import Order
from schemas.errors import AionError, Cancelled, DeadlineExceeded, OutputInvalid, Unavailable
from schemas.message import decode
from schemas.result import Status, TaskResult

T = TypeVar("T")


def read_end(data: bytes | None, order: Order, read: Callable[[TaskResult], T]) -> T:
    """What `read` makes of the good result in `data`. Raises `Unanswered` for any other end, and for none (None).

    With a key the same request meets the same task again, so it may be sent again while the task is open; and a task
    that has ended will never end otherwise.
    """
    task_id, keyed = order.event.task_id, order.naming.keyed
    if data is None:
        error = Unavailable(f"task {task_id} goes on, and this edge no longer waits for it", retry_after_s=1)
        raise Unanswered(error, task_id, once=not keyed)
    result = decode(data, TaskResult)
    if result.status is not Status.OK:
        retryable = result.error is not None and result.error.retryable
        raise Unanswered(_error(result), task_id, once=keyed or not retryable)
    try:
        return read(result)
    except OutputInvalid as error:
        raise Unanswered(error, task_id, once=True) from error


def _error(result: TaskResult) -> AionError:
    said = result.error.message if result.error is not None else ""
    if result.status is Status.CANCELED:
        return Cancelled(said or "the task was cancelled")
    if result.status is Status.TIMEOUT:
        return DeadlineExceeded(said or "the task did not end within its time: sla.timeout_s gives it more")
    return error_of(result.error.code if result.error is not None else "", said or "the task failed")
