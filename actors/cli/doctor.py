"""`aionctl doctor`: what is wrong here, and how to mend it."""

import asyncio
import logging
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import Any, Final, TypeAlias

from actors.cli.door import find_door
from actors.cli.environment import environment
from actors.cli.exits import Exit
from actors.cli.options import Json
from actors.cli.output import emit
from actors.cli.session import section
from actors.runtime.settings import Settings, read_settings
from bus import BusSettings
from bus.waiting import timeout
from schemas.errors import AionError
from schemas.finding import Finding
from schemas.message import plain

GROUP: Final = "aion.checks"
TIMEOUT_S: Final = 15.0
_ENV: Final = "env | grep ^AION_"

Examine: TypeAlias = Callable[[Any], Awaitable[Sequence[Finding]]]


def doctor(*, as_json: Json = False) -> int:
    """Check Python, Java, settings, every server and its contents, and the API key; each failure names its fix."""
    findings = [_python(), _java(), *_installation(), _key()]
    emit([plain(finding) for finding in findings], as_json=as_json, text="\n".join(map(_line, findings)))
    return Exit.OK if all(finding.ok for finding in findings) else Exit.FAILURE


async def examine_all(settings: Settings, rooms: Mapping[str, Callable[[], Examine]]) -> list[Finding]:
    """What each room says of its own door, all asked at once; `rooms` gives a section's question when called."""
    asked = [_examine(settings, name, load) for name, load in rooms.items()]
    return [finding for findings in await asyncio.gather(*asked) for finding in findings]


async def _examine(settings: Settings, name: str, load: Callable[[], Examine]) -> Sequence[Finding]:
    try:
        examine = load()
        async with timeout(TIMEOUT_S):
            return await examine(section(settings, name))
    except ModuleNotFoundError as error:
        return [Finding(name=name, ok=False, found=f"needs {error.name}", fix="pip install 'aion[all]'")]
    except TimeoutError:
        return [Finding(name=name, ok=False, found=f"no answer within {TIMEOUT_S:g} s", fix="aionctl servers status")]
    except AionError as error:
        return [Finding(name=name, ok=False, found=error.message, fix=f"{_ENV}{name.upper()}_")]


def _installation() -> list[Finding]:
    """The settings and, when they can be read, all that they lead to."""
    try:
        settings = read_settings(environment())
        rooms = {found.name: found.load for found in sorted(entry_points(group=GROUP), key=lambda one: one.name)}
        with _quiet():
            findings = asyncio.run(examine_all(settings, rooms))
        findings = [with_missing(finding) if finding.name == "actors" else finding for finding in findings]
        return [Finding(name="settings", ok=True, found="every key is known"), *findings, _fsync(settings)]
    except AionError as error:
        return [Finding(name="settings", ok=False, found=error.message, fix=_ENV)]


def with_missing(actors: Finding) -> Finding:
    """Not well while an installed actor does not answer: without a router, say, tasks are accepted and only wait."""
    answering = set(actors.found.split(", "))
    missing = sorted(name for name in entry_points(group="aion.actors").names if name not in answering)
    if not missing or not actors.ok:
        return actors
    found = f"{actors.found}; {', '.join(missing)} do not answer"
    return Finding(name="actors", ok=False, found=found, fix=f"aionctl run {' '.join(missing)}")


@contextmanager
def _quiet() -> Iterator[None]:
    """What client libraries log of a server that is down is said by the finding already."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def _fsync(settings: Settings) -> Finding:
    """Seen on the development server only: nothing but a server's monitoring port tells."""
    from deploy.local import nats_sync

    sync = nats_sync(settings.load("nats", BusSettings).url)
    if sync == "page-cache":
        fix = "put sync_interval: always into nats.conf"
        found = "off: what is acknowledged may be lost with the machine for two minutes"
        return Finding(name="fsync", ok=False, found=found, fix=fix)
    seen = "on" if sync == "always" else "not visible from here: see that nats.conf has sync_interval: always"
    return Finding(name="fsync", ok=True, found=seen)


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= (3, 11)
    return Finding(name="python", ok=good, found=found, fix="" if good else "uv python install 3.11")


def _java() -> Finding:
    fix = "apt-get install -y openjdk-17-jre-headless"
    path = shutil.which("java")
    if path is None:
        return Finding(name="java", ok=False, found="not found; the local Kafka needs it", fix=fix)
    done = subprocess.run([path, "-version"], capture_output=True, text=True, timeout=20, check=False)  # noqa: S603
    words = done.stderr.split('"')
    version = words[1] if len(words) > 1 else "unknown"
    major = version.split(".")[0]
    good = major.isdigit() and int(major) >= 17
    return Finding(name="java", ok=good, found=version, fix="" if good else fix)


def _key() -> Finding:
    try:
        find_door(environment())
    except AionError as error:
        return Finding(name="key", ok=False, found=error.message, fix="aionctl key create --tenant demo")
    return Finding(name="key", ok=True, found="found")


def _line(finding: Finding) -> str:
    verdict = "ok  " if finding.ok else "FAIL"
    return f"{verdict}  {finding.name}: {finding.found}" + (f"\n      {finding.fix}" if finding.fix else "")
