"""The floor's workers, one process each: `python -m benchmarks.floor.roles router|executor|celled URL grouped|singly`.

Each answers a delivery by one append after it, and acknowledges once that is stored. The routed event repeats the
accepted one's bytes; the ended event carries a result of about the size of a summary. `celled` is the executor that
sends each payload to a child process and back before.
"""

import asyncio
import sys
from collections.abc import Callable

import uvloop

from benchmarks.floor.appends import Append, Appends
from benchmarks.floor.cell import open_cell
from benchmarks.floor.cursor import Pull
from benchmarks.floor.wire import connect
from bus.subjects import Cursor, accepted, routed
from schemas.task import Priority

ENGINE = "floor"
RESULT = b'{"event":"ended","result":"' + b"x" * 650 + b'"}'

Next = Callable[[bytes], bytes]
"""From the payload of the event that is answered to the payload of the answer."""


def cursor_of(role: str) -> Cursor:
    """What the role takes."""
    return accepted(Priority.NORMAL) if role == "router" else routed(ENGINE, Priority.NORMAL, cap=4096)


def answer_of(role: str) -> tuple[bytes, Next]:
    """The event and lane the role appends, and its payload."""
    if role == "router":
        return f"routed.{ENGINE}-normal".encode(), lambda payload: payload
    return b"ended.completed", lambda _: RESULT


async def serve(role: str, url: str, *, grouped: bool, celled: bool) -> None:
    """Work until the server goes away or the process is ended."""
    wire, cell = await connect(url), await open_cell() if celled else None
    appends = Appends(wire, grouped=grouped)
    kind, payload_of = answer_of(role)

    def take(subject: bytes, sequence: int, payload: bytes, ack: bytes) -> None:
        task = subject.split(b".", 4)[4]  # <tenant>.<task_id>
        guard = b"aion.task.*.*." + task
        target = b"aion.task.%b.%b" % (kind, task)

        def done(_stored: bool) -> None:
            wire.publish(ack, b"+ACK")

        item = Append(target, guard, sequence, payload_of(payload), done)
        if cell is None:
            appends.append(item)
        else:
            cell.run(payload, lambda: appends.append(item))

    Pull(wire, cursor_of(role), take).fill()
    await wire.lost


def main(arguments: list[str]) -> None:
    """Run one role."""
    role, url, mode = arguments
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        celled = role == "celled"
        runner.run(serve("executor" if celled else role, url, grouped=mode == "grouped", celled=celled))


if __name__ == "__main__":
    main(sys.argv[1:])
