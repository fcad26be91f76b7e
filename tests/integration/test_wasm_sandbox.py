"""The sandbox with the real engine: what our packages answer, and what hostile modules cannot do."""

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import wasmtime
import yaml

from executors.wasm import Sandbox
from executors.wasm.build import build, compile_c
from schemas.errors import (
    AionError,
    DeadlineExceeded,
    InputInvalid,
    Misconfigured,
    ModuleOutOfMemory,
    ModuleTimeout,
    ModuleTrap,
    NotFound,
    OutputInvalid,
    OutputTooLarge,
    PackageInvalid,
    Unavailable,
)

ROOT = Path(__file__).resolve().parents[2]
ROGUE = Path(__file__).parent / "wasm_modules" / "rogue.c"
MARGIN_S = 0.75  # other work shares the machine; the watchdog itself allows 50 ms


def manifest(name: str, wasm: bytes, abi: str, **limits: int) -> dict[str, Any]:
    allowed = {"memory_mib": 16, "timeout_ms": 400, "output_kib": 16} | limits
    return {
        "apiVersion": "aionos/v1",
        "kind": "AgentPackage",
        "metadata": {"name": name, "version": "1.0.0"},
        "spec": {
            "intents": [name],
            "runtime": "wasm",
            "entry": {"module": "m.wasm", "digest": f"sha256:{hashlib.sha256(wasm).hexdigest()}", "abi": abi},
            "input_schema": {"type": "object"},
            "output_schema": {"type": "object", "properties": {"count": {"type": "integer"}}},
            "limits": allowed,
        },
    }


def install(folder: Path, name: str, wasm: bytes, abi: str, **limits: int) -> Path:
    target = folder / name
    target.mkdir(parents=True)
    (target / "m.wasm").write_bytes(wasm)
    (target / "package.yaml").write_text(yaml.safe_dump(manifest(name, wasm, abi, **limits)))
    return target


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = ROOT / "build" / "wasm-test-cache"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


@pytest.fixture(scope="session")
def packages() -> Path:
    out = ROOT / "build" / "packages"
    for name in ("embed_text", "extract_keywords", "summarize_stdio", "summarize_text"):
        build(name, out)
    return out


@pytest.fixture(scope="session")
def rogues(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rogues")
    flags = ("--target=wasm32-wasi", "-Os", "-s", "-Wl,-z,stack-size=65536")
    compile_c([ROGUE], folder / "command.wasm", *flags, "-DCOMMAND")
    compile_c([ROGUE], folder / "reactor.wasm", *flags, "-mexec-model=reactor")
    command, reactor = ((folder / f"{kind}.wasm").read_bytes() for kind in ("command", "reactor"))
    installed = folder / "packages"
    install(installed, "command", command, "stdio")
    install(installed, "reactor", reactor, "reactor")
    install(installed, "metered", reactor, "reactor", fuel=1_000_000, timeout_ms=5000)
    return installed


@pytest.fixture
def reactor_wasm(rogues: Path) -> bytes:
    return (rogues / "reactor" / "m.wasm").read_bytes()


@pytest.fixture
async def ours(packages: Path, cache: Path) -> AsyncIterator[Sandbox]:
    async with Sandbox(packages, cache, cells=1) as sandbox:
        assert not sandbox.refused
        yield sandbox


@pytest.fixture
async def hostile(rogues: Path, cache: Path) -> AsyncIterator[Sandbox]:
    async with Sandbox(rogues, cache, cells=1) as sandbox:
        assert not sandbox.refused
        yield sandbox


MISTYPED_REACTOR = """
(module (memory (export "memory") 1) (func (export "aion_alloc") (param i32) (result i32) i32.const 8)
  (func (export "aion_free") (param i32 i32))
  (func (export "aion_handle") (param i64 i64 i64) (result i64) i64.const 0))
"""

ABIS = pytest.mark.parametrize("abi", ["command", "reactor"])


# --- our own packages -------------------------------------------------------------------------------------------------

ENGLISH = (
    "AION is a bus for tasks. The weather was nice. Dr. Smith wrote the bus for tasks, e.g. for summaries. "
    "Tasks on the bus are durable! Is lunch ready? Every task on the bus ends once."
)
RUSSIAN = "Москва — столица России. Погода сегодня хорошая. Население Москвы велико! Москва — большой город."
CHINESE = "北京是中国的首都。今天天气很好！北京有很多人。你去吗？北京是一个大城市。"


@pytest.mark.parametrize("name", ["summarize_text", "summarize_stdio"])
@pytest.mark.parametrize(
    ("text", "sentences"), [(ENGLISH, 6), (RUSSIAN, 4), (CHINESE, 5), ("😀 hi 😀. Wow 👩‍👩‍👧!", 2)]
)
async def test_a_summary_is_whole_sentences_in_their_own_order(
    ours: Sandbox, name: str, text: str, sentences: int
) -> None:
    result = (await ours.run(name, {"text": text, "max_sentences": 2}, 5)).result
    first, second = result["sentences"]
    assert 0 <= text.index(first) < text.index(second)
    assert result["summary"] == first + ("" if text is CHINESE else " ") + second
    assert result["stats"]["sentences"] == sentences
    assert result["stats"]["chars"] == len(text)


async def test_an_abbreviation_does_not_end_a_sentence(ours: Sandbox) -> None:
    result = (await ours.run("summarize_text", {"text": ENGLISH, "max_sentences": 20}, 5)).result
    assert "Dr. Smith wrote the bus for tasks, e.g. for summaries." in result["sentences"]


@pytest.mark.parametrize("text", ["", " \n\n ", "....", '\u0000\u001f"\\/', "no stop", "a" * 5000])
async def test_odd_texts_have_a_summary_too(ours: Sandbox, text: str) -> None:
    result = (await ours.run("summarize_text", {"text": text}, 5)).result
    assert result["stats"]["chars"] == len(text)
    assert result["summary"] == text.strip()


async def test_a_long_text_is_summarised_well_within_its_deadline(ours: Sandbox) -> None:
    text = " ".join(f"Sentence {i} speaks of tasks and of topic{i % 97}." for i in range(2500))
    assert len(text) > 100_000
    answer = await ours.run("summarize_text", {"text": text, "max_sentences": 20}, 5)
    assert len(answer.result["sentences"]) == 20


async def embedded(ours: Sandbox, *texts: str, **params: int) -> list[list[float]]:
    result = (await ours.run("embed_text", {"texts": list(texts), **params}, 5)).result
    vectors: list[list[float]] = result["vectors"]
    assert [len(vector) for vector in vectors] == [result["dimensions"]] * len(texts)
    return vectors


def likeness(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


async def test_every_text_has_a_vector_of_length_one_and_always_the_same(ours: Sandbox) -> None:
    texts = (ENGLISH, RUSSIAN, CHINESE, "a", "a b", "🚌🚌", "...", " \n", '\u0000"\\', "z" * 5000, "e\u0301", "ß")
    vectors = await embedded(ours, *texts)
    assert all(abs(likeness(vector, vector) - 1) < 1e-4 for vector in vectors)
    assert vectors == await embedded(ours, *texts)
    assert (await embedded(ours, *reversed(texts)))[::-1] == vectors
    assert all(likeness(one, other) < 0.99 for i, one in enumerate(vectors) for other in vectors[:i])


@pytest.mark.parametrize(
    ("text", "near", "far"),
    [
        ("The cat sleeps on the mat.", "a cat was sleeping on mats", "Stock markets fell sharply today."),
        ("Durable messages on a bus", "DURABLE MESSAGE BUSES", "A recipe for lemon cake"),
        ("accommodation in Berlin", "acommodation Berlin", "the price of copper rose"),
        ("猫が寝ている。", "猫は寝ています。", "株価が下落した。"),
        ("Погода сегодня хорошая", "хорошая погода", "Москва большой город"),
    ],
)
async def test_texts_that_share_words_or_pieces_are_nearer_than_others(
    ours: Sandbox, text: str, near: str, far: str
) -> None:
    one, two, three = await embedded(ours, text, near, far)
    assert likeness(one, two) > likeness(one, three) + 0.15


async def test_the_length_of_vectors_is_the_callers_choice_within_bounds(ours: Sandbox) -> None:
    for dimensions in (8, 100, 512):
        assert len((await embedded(ours, ENGLISH, dimensions=dimensions))[0]) == dimensions
    refused: list[dict[str, Any]] = [{"texts": []}, {"texts": [""]}, {"texts": ["a"] * 129}]
    for params in [*refused, {"texts": ["a"], "dimensions": 7}]:
        with pytest.raises(InputInvalid):
            await ours.run("embed_text", params, 5)


async def test_the_largest_answer_fits_into_the_log(ours: Sandbox) -> None:
    texts = [" ".join(f"w{number}x{i}" for i in range(250)) for number in range(128)]
    answer = await ours.run("embed_text", {"texts": texts, "dimensions": 512}, 5)
    assert len(json.dumps(answer.result, separators=(",", ":"))) < 704 * 1024


async def test_fuel_is_counted_where_it_is_limited(hostile: Sandbox) -> None:
    metered = await hostile.run("metered", {"do": "count"}, 5)
    unmetered = await hostile.run("reactor", {"do": "count"}, 5)
    assert 0 < (metered.fuel_used or 0) < 1_000_000
    assert unmetered.fuel_used is None


async def test_python_finds_the_keywords(ours: Sandbox) -> None:
    text = "Message buses move messages. A durable message bus keeps messages. Message buses are fun."
    result = (await ours.run("extract_keywords", {"text": text, "limit": 3}, 10)).result
    assert len(result["keywords"]) == 3
    assert any("message buses" in item["term"] for item in result["keywords"])


async def test_a_component_stops_at_its_deadline_and_spares_the_cell(ours: Sandbox) -> None:
    await ours.run("extract_keywords", {"text": "warm up"}, 10)
    before, started = ours.pool.pids, time.monotonic()
    with pytest.raises(ModuleTimeout, match="ran past"):
        await ours.run("extract_keywords", {"text": "one two three, " * 60_000}, 0.1)
    assert time.monotonic() - started < 0.1 + MARGIN_S
    assert ours.pool.pids == before


@pytest.mark.parametrize(
    ("params", "pointer"),
    [
        ({"text": "a", "colour": 1}, "/:"),
        ({"text": 5}, "/text:"),
        ({"text": "a", "max_sentences": 21}, "/max_sentences"),
    ],
)
async def test_params_outside_of_the_schema_are_refused_by_pointer(
    ours: Sandbox, params: dict[str, Any], pointer: str
) -> None:
    with pytest.raises(InputInvalid, match=pointer):
        await ours.run("summarize_text", params, 5)


async def test_an_unknown_package_is_not_found(ours: Sandbox) -> None:
    with pytest.raises(NotFound, match="nothing_here"):
        await ours.run("nothing_here", {}, 5)


async def test_a_lone_surrogate_is_no_valid_input(ours: Sandbox) -> None:
    with pytest.raises(InputInvalid):
        await ours.run("summarize_text", {"text": "\ud800"}, 5)


# --- hostile modules --------------------------------------------------------------------------------------------------


async def works(sandbox: Sandbox, name: str) -> None:
    assert (await sandbox.run(name, {"do": "count"}, 5)).result == {"count": 1}


@ABIS
async def test_no_state_survives_a_request(hostile: Sandbox, abi: str) -> None:
    for _ in range(5):
        await works(hostile, abi)


@ABIS
async def test_no_byte_of_memory_survives_a_request(hostile: Sandbox, abi: str) -> None:
    for _ in range(3):
        assert (await hostile.run(abi, {"do": "residue"}, 5)).result == {"dirty": 0}


@ABIS
async def test_an_infinite_loop_stops_at_its_deadline_and_spares_the_cell(hostile: Sandbox, abi: str) -> None:
    await works(hostile, abi)
    before, started = hostile.pool.pids, time.monotonic()
    with pytest.raises(ModuleTimeout):
        await hostile.run(abi, {"do": "loop"}, 0.2)
    assert time.monotonic() - started < 0.2 + MARGIN_S
    await works(hostile, abi)
    assert hostile.pool.pids == before


@ABIS
async def test_a_guest_asleep_in_its_host_is_killed(hostile: Sandbox, abi: str) -> None:
    await works(hostile, abi)
    started = time.monotonic()
    with pytest.raises(ModuleTimeout, match="slept"):
        await hostile.run(abi, {"do": "sleep"}, 0.2)
    assert time.monotonic() - started < 0.2 + MARGIN_S
    await works(hostile, abi)


@ABIS
@pytest.mark.parametrize(
    ("order", "error"),
    [
        ("trap", ModuleTrap),
        ("dive", ModuleTrap),
        ("hog", ModuleOutOfMemory),
        ("flood", OutputTooLarge),
        ("array", OutputInvalid),
        ("garbage", OutputInvalid),
        ("mistype", OutputInvalid),
    ],
)
async def test_a_bad_module_earns_its_own_error_and_hurts_nobody(
    hostile: Sandbox, abi: str, order: str, error: type[AionError]
) -> None:
    with pytest.raises(error) as caught:
        await hostile.run(abi, {"do": order}, 5)
    assert type(caught.value) is error
    await works(hostile, abi)


async def test_a_wrong_output_is_named_by_pointer(hostile: Sandbox) -> None:
    with pytest.raises(OutputInvalid, match="/count"):
        await hostile.run("reactor", {"do": "mistype"}, 5)


@pytest.mark.parametrize(("order", "words"), [("outside", "outside of its memory"), ("complain", "no can do")])
async def test_a_reactor_says_why_it_failed(hostile: Sandbox, order: str, words: str) -> None:
    with pytest.raises(ModuleTrap, match=words):
        await hostile.run("reactor", {"do": order}, 5)


async def test_a_command_that_exits_non_zero_failed(hostile: Sandbox) -> None:
    with pytest.raises(ModuleTrap, match="status 7"):
        await hostile.run("command", {"do": "exit"}, 5)


async def test_fuel_runs_out(hostile: Sandbox) -> None:
    with pytest.raises(ModuleTimeout, match="fuel"):
        await hostile.run("metered", {"do": "loop"}, 5)
    await works(hostile, "metered")


@ABIS
async def test_a_guest_sees_no_file_and_no_environment(hostile: Sandbox, abi: str) -> None:
    assert (await hostile.run(abi, {"do": "open"}, 5)).result == {"opened": False}
    assert (await hostile.run(abi, {"do": "environment"}, 5)).result == {"variables": 0}


async def test_a_cell_killed_in_the_middle_is_a_typed_error_and_is_replaced(hostile: Sandbox) -> None:
    await works(hostile, "reactor")
    running = asyncio.create_task(hostile.run("metered", {"do": "sleep"}, 5))
    await asyncio.sleep(0.1)
    for pid in hostile.pool.pids:
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(ModuleTrap, match="signal 9"):
        await asyncio.wait_for(running, 5)
    await works(hostile, "reactor")


async def test_cancelling_a_request_kills_its_guest(hostile: Sandbox) -> None:
    running = asyncio.create_task(hostile.run("metered", {"do": "sleep"}, 5))
    await asyncio.sleep(0.1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    started = time.monotonic()
    await works(hostile, "reactor")
    assert time.monotonic() - started < MARGIN_S


async def test_waiting_for_a_busy_cell_ends_at_the_deadline(hostile: Sandbox) -> None:
    busy = asyncio.create_task(hostile.run("metered", {"do": "sleep"}, 1))
    await asyncio.sleep(0.05)
    with pytest.raises(DeadlineExceeded):
        await hostile.run("reactor", {"do": "count"}, 0.1)
    with pytest.raises(ModuleTimeout):
        await busy


async def queued(sandbox: Sandbox, *orders: tuple[str, float], package: str = "reactor") -> list[asyncio.Task[Any]]:
    """Requests for `package`, as many in the line of one cell as it holds by the time that this returns."""
    await works(sandbox, package)
    tasks = [asyncio.create_task(sandbox.run(package, {"do": do}, timeout_s)) for do, timeout_s in orders]
    await asyncio.sleep(0.05)
    return tasks


async def test_a_guest_asleep_in_its_host_costs_those_behind_it_nothing_but_time(hostile: Sandbox) -> None:
    asleep, *others = await queued(hostile, ("sleep", 5), ("count", 5), ("count", 5), ("count", 5), ("count", 5))
    with pytest.raises(ModuleTimeout, match="slept"):
        await asleep
    assert [(await other).result for other in others] == [{"count": 1}] * 4


async def test_a_cell_killed_with_a_full_line_loses_only_what_it_ran(hostile: Sandbox) -> None:
    asleep, *others = await queued(hostile, ("sleep", 5), *[("count", 5)] * 12)
    for pid in hostile.pool.pids:
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(ModuleTrap, match="signal 9"):
        await asleep
    assert [(await other).result for other in others] == [{"count": 1}] * 12


async def test_cancelling_one_that_waits_in_line_spares_the_cell_and_the_others(hostile: Sandbox) -> None:
    looping, cancelled, other = await queued(hostile, ("loop", 0.3), ("count", 5), ("count", 5))
    before = hostile.pool.pids
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    with pytest.raises(ModuleTimeout):
        await looping
    assert (await other).result == {"count": 1}
    assert hostile.pool.pids == before


async def test_one_cancelled_in_line_cannot_hold_the_line_when_its_turn_comes(hostile: Sandbox) -> None:
    orders = [("loop", 0.2), ("sleep", 30.0), ("count", 5.0)]  # the sleeper's package allows 5 s
    looping, cancelled, other = await queued(hostile, *orders, package="metered")
    cancelled.cancel()
    with pytest.raises(ModuleTimeout):
        await looping
    started = time.monotonic()
    assert (await other).result == {"count": 1}
    assert time.monotonic() - started < MARGIN_S


async def test_waiting_in_line_ends_at_the_deadline_and_spares_the_cell(hostile: Sandbox) -> None:
    looping, late, other = await queued(hostile, ("loop", 5), ("count", 0.1), ("count", 5))
    before = hostile.pool.pids
    with pytest.raises(DeadlineExceeded):
        await late
    assert not looping.done()
    with pytest.raises(ModuleTimeout):
        await looping
    assert (await other).result == {"count": 1}
    assert hostile.pool.pids == before


async def test_an_idle_cell_killed_is_replaced_before_it_is_asked(hostile: Sandbox) -> None:
    for pid in hostile.pool.pids:
        os.kill(pid, signal.SIGKILL)
    await asyncio.sleep(0.1)
    await works(hostile, "reactor")


async def test_an_artifact_that_does_not_load_is_said_to_be_invalid(hostile: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "junk.aot").write_bytes(b"junk")
    package = replace(hostile.packages["reactor"], key=bytes(32), artifact=tmp_path / "junk.aot")
    for _ in range(2):
        with pytest.raises(PackageInvalid, match="does not load"):
            await hostile.run(package, {}, 5)
    await works(hostile, "reactor")


async def test_a_load_that_kills_its_cells_is_not_tried_for_ever(hostile: Sandbox, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "endless.aot")  # a load of it never ends by itself
    package = replace(hostile.packages["reactor"], key=bytes(32), artifact=tmp_path / "endless.aot")
    loading = asyncio.create_task(hostile.run(package, {}, 20))
    while not loading.done():
        await asyncio.sleep(0.1)
        for pid in hostile.pool.pids:
            os.kill(pid, signal.SIGKILL)
    with pytest.raises(Unavailable, match="while loading"):
        await loading


async def test_what_a_guest_says_is_heard_while_it_works(hostile: Sandbox) -> None:
    heard: list[tuple[float, bytes]] = []
    answer = await hostile.run(
        "reactor", {"do": "speak in words"}, 5.0, lambda text: heard.append((time.monotonic(), text))
    )
    assert answer.result == {"count": 8}
    assert b"".join(text for _, text in heard).decode() == "grüß " * 8
    assert len(heard) >= 3
    assert heard[-1][0] - heard[0][0] > 0.04  # not all at the end


async def test_a_guest_that_never_stops_talking_is_held_to_its_limit(hostile: Sandbox) -> None:
    heard: list[bytes] = []
    answer = await hostile.run("reactor", {"do": "speak in pieces"}, 5.0, heard.append)
    assert answer.result == {"count": 16 * 1024}
    assert b"".join(heard) in (b"", b"x" * 16 * 1024)  # a short run has said it all in its answer
    assert len(heard) < 200
    assert (await hostile.run("reactor", {"do": "count"}, 5.0)).result == {"count": 1}


async def test_bytes_outside_of_its_memory_are_not_said(hostile: Sandbox) -> None:
    heard: list[bytes] = []
    assert (await hostile.run("reactor", {"do": "speak outside of it"}, 5.0, heard.append)).result == {"count": 0}
    assert heard == []


async def test_what_a_stopped_guest_said_is_not_taken_for_the_next(hostile: Sandbox) -> None:
    first: list[bytes] = []
    second: list[bytes] = []
    with pytest.raises(ModuleTimeout):
        await hostile.run("reactor", {"do": "speak in words and stay"}, 5.0, first.append)
    assert first
    assert (await hostile.run("reactor", {"do": "count"}, 5.0, second.append)).result == {"count": 1}
    assert second == []


async def test_a_long_summary_is_told_sentence_by_sentence(ours: Sandbox) -> None:
    text = " ".join(f"Sentence {number} speaks of rain, of wind and of the sea." for number in range(9000))
    heard: list[bytes] = []
    answer = await ours.run("summarize_text", {"text": text, "max_sentences": 5}, 10.0, heard.append)
    assert b"".join(heard).decode() in ("", answer.result["summary"])
    assert heard or answer.duration_s < 0.06


async def test_an_import_of_another_type_or_name_is_refused(packages: Path, cache: Path, tmp_path: Path) -> None:
    for number, imported in enumerate(('"emit" (func (param i64 i32) (result i32))', '"fetch" (func)')):
        wasm = wasmtime.wat2wasm(MISTYPED_REACTOR.replace("(memory", f'(import "aion" {imported}) (memory', 1))
        install(tmp_path, f"p{number}", bytes(wasm), "reactor")
    async with Sandbox(tmp_path, cache, cells=1) as sandbox:
        assert not sandbox.packages
        assert len(sandbox.refused) == 2


async def test_leaving_the_sandbox_ends_whoever_waits(rogues: Path, cache: Path) -> None:
    async with Sandbox(rogues, cache, cells=1) as sandbox:
        tasks = await queued(sandbox, ("sleep", 5), ("count", 5), *[("count", 5)] * 8)
    assert [type(end) for end in await asyncio.gather(*tasks, return_exceptions=True)] == [Unavailable] * 10


async def test_leaving_the_sandbox_while_cells_die_leaves_nobody_waiting(rogues: Path, cache: Path) -> None:
    async with Sandbox(rogues, cache, cells=1) as sandbox:
        tasks = await queued(sandbox, ("sleep", 5), *[("count", 5)] * 8)
        for pid in sandbox.pool.pids:
            os.kill(pid, signal.SIGKILL)
        tasks[2].cancel()
        await asyncio.sleep(0.001)
    async with asyncio.timeout(5):
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(end) for end in ends} <= {ModuleTrap, Unavailable, asyncio.CancelledError}


async def test_leaving_the_sandbox_leaves_no_process(rogues: Path, cache: Path) -> None:
    async with Sandbox(rogues, cache, cells=2) as sandbox:
        pids = sandbox.pool.pids
        assert len(pids) == 3
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


# --- packages unfit to run --------------------------------------------------------------------------------------------


async def test_broken_packages_are_refused_and_the_others_load(
    tmp_path: Path, cache: Path, reactor_wasm: bytes
) -> None:
    install(tmp_path, "good", reactor_wasm, "reactor")
    (install(tmp_path, "tampered", reactor_wasm, "reactor") / "m.wasm").write_bytes(reactor_wasm + b"\0")
    (install(tmp_path, "unreadable", reactor_wasm, "reactor") / "package.yaml").write_text("apiVersion: [")
    (install(tmp_path, "absent", reactor_wasm, "reactor") / "m.wasm").unlink()
    install(tmp_path, "junk", b"\0asm\1\0\0\0junk", "reactor")
    install(tmp_path, "disguised", reactor_wasm, "stdio")
    install(tmp_path, "mistyped", bytes(wasmtime.wat2wasm(MISTYPED_REACTOR)), "reactor")
    async with Sandbox(tmp_path, cache, cells=1) as sandbox:
        refused = {entry.folder: entry.error for entry in sandbox.refused}
        assert set(sandbox.packages) == {"good"}
        assert set(refused) == {"tampered", "unreadable", "absent", "junk", "disguised", "mistyped"}
        assert all(isinstance(error, PackageInvalid) for error in refused.values())
        assert "digest" in str(refused["tampered"])
        assert "_start" in str(refused["disguised"])
        assert "'aion_handle' must have the type" in str(refused["mistyped"])
        await works(sandbox, "good")


async def test_a_corrupted_artifact_is_compiled_again(tmp_path: Path, reactor_wasm: bytes) -> None:
    own_cache = tmp_path / "cache"
    install(tmp_path / "packages", "good", reactor_wasm, "reactor")
    async with Sandbox(tmp_path / "packages", own_cache, cells=1):
        (artifact,) = own_cache.glob("*.aot")
    content = artifact.read_bytes()
    artifact.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    async with Sandbox(tmp_path / "packages", own_cache, cells=1) as sandbox:
        await works(sandbox, "good")
    assert [path.suffix for path in own_cache.iterdir()] == [".aot"]


async def test_a_cache_open_to_others_is_refused(tmp_path: Path) -> None:
    own_cache = tmp_path / "cache"
    own_cache.mkdir()
    own_cache.chmod(0o755)
    with pytest.raises(Misconfigured, match="chmod 700"):
        async with Sandbox(tmp_path, own_cache):
            pass


def children() -> set[str]:
    """Process ids of what this process started and has not reaped, from every thread (proc(5))."""
    found: set[str] = set()
    for listed in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError):  # a thread that ended meanwhile
            found.update(listed.read_text().split())
    return found


@pytest.fixture(autouse=True)
def no_orphans() -> Iterator[None]:
    before = children()
    yield
    assert children() <= before
