"""Questions a second: `python -m benchmarks.asks [--open 64] [--seconds 3] [--rounds 3]`.

An actor's typed question, answered in another process, beside its floor of the same run: a plain nats-py request loop
and a plain nats-py subscriber that replies, with the same number open and the same payload.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from time import perf_counter

import nats
import uvloop
from nats.aio.msg import Msg

from benchmarks import report
from benchmarks.processes import Children
from benchmarks.servers import servers
from bus import BusSettings, open_bus
from bus.port import Answer, Call, Question, Service
from schemas.errors import AionError
from schemas.message import Message, encode

TEXT = "x" * 256
SUBJECT = "bench.floor"
READY_S = 15.0


class Echo(Message):
    """The question and its answer."""

    text: str


ECHO = Question("bench", "echo", Echo, Echo)
Ask = Callable[[], Awaitable[object]]


async def serve_actor(url: str) -> None:
    """Answer as an actor does, until killed."""

    async def answer(request: Echo, _call: Call) -> Echo:
        return request

    async with open_bus(BusSettings(url=url)) as bus:
        service = Service("bench", "1.0.0", "bench-1")
        async with bus.rpc.serve(service, [Answer(ECHO, answer, concurrency=256, mailbox=256)]):
            await asyncio.Event().wait()


async def serve_floor(url: str) -> None:
    """Answer as plain nats-py does, until killed."""
    client = await nats.connect(url)

    async def answer(message: Msg) -> None:
        await message.respond(message.data)

    await client.subscribe(SUBJECT, cb=answer)
    await asyncio.Event().wait()


async def rate(ask: Ask, tasks_open: int, seconds: float) -> float:
    """Answers a second with `tasks_open` always open."""
    until = perf_counter() + seconds
    answered = 0

    async def one() -> None:
        nonlocal answered
        while perf_counter() < until:
            await ask()
            answered += 1

    began = perf_counter()
    await asyncio.gather(*(one() for _ in range(tasks_open)))
    return answered / (perf_counter() - began)


async def patiently(ask: Ask) -> None:
    """Returns once the other side answers."""
    async with asyncio.timeout(READY_S):
        while True:
            try:
                await ask()
            except (AionError, nats.errors.Error):
                await asyncio.sleep(0.1)
            else:
                return


async def measure(folder: Path, options: argparse.Namespace) -> list[tuple[float, float]]:
    """(actor, floor) of each round, in turns on one server."""
    rounds: list[tuple[float, float]] = []
    async with servers(folder, "page-cache", nats_only=True) as infos:
        url = infos["nats"].url
        with Children(folder / "logs", {}) as children:
            for kind in ("actor", "floor"):
                children.start(kind, (sys.executable, "-m", "benchmarks.asks", "--serve", kind, "--url", url))
            client = await nats.connect(url)
            payload = encode(Echo(text=TEXT))
            async with open_bus(BusSettings(url=url)) as bus:

                def actor() -> Awaitable[object]:
                    return bus.rpc.ask(ECHO, Echo(text=TEXT))

                def floor() -> Awaitable[object]:
                    return client.request(SUBJECT, payload, timeout=5)

                await patiently(actor)
                await patiently(floor)
                for _ in range(options.rounds):
                    ours = await rate(actor, options.open, options.seconds)
                    rounds.append((ours, await rate(floor, options.open, options.seconds)))
            await client.close()
    return rounds


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.asks", description=__doc__)
    parser.add_argument("--open", type=int, default=64, help="questions open at once (64)")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one loop (3)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", choices=("actor", "floor"), help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if options.serve:
            runner.run(serve_actor(options.url) if options.serve == "actor" else serve_floor(options.url))
            return 0
        with tempfile.TemporaryDirectory(prefix="aion-bench-") as folder:
            rounds = runner.run(measure(Path(folder) / "asks", options))
    print("\n".join(f"{name}: {value}" for name, value in report.machine().items()))
    for name, values in zip(("actor", "floor, nats-py"), zip(*rounds, strict=True), strict=True):
        print(f"{name}: {statistics.median(values):,.0f} ({min(values):,.0f}-{max(values):,.0f}) questions/s")
    print(f"ratio: {statistics.median(ours / floor for ours, floor in rounds):.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
