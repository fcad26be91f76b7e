"""The environment that commands read: the process's own, over what `servers up` wrote down."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

LOCAL_DIR: Final = Path("var/local")
_ADDRESSES: Final = LOCAL_DIR / "servers.env"
_PEPPER: Final = LOCAL_DIR / "key-pepper"


def environment(own: Mapping[str, str] | None = None) -> dict[str, str]:
    """`own` (default: os.environ), with the addresses of the development servers where it names none.

    They are left out in production and where an `aion.toml` speaks: a forgotten file must not decide then.
    """
    given = dict(os.environ if own is None else own)
    if given.get("AION_ENV") == "production" or "AION_CONFIG" in given or Path("aion.toml").exists():
        return given
    return {**read_addresses(_ADDRESSES), **(local_secrets() if _PEPPER.exists() else {}), **given}


def local_secrets() -> dict[str, str]:
    """Where the auth actor and the edges of this machine find what they keep secret; the pepper is made once."""
    if not _PEPPER.exists():
        write_secret(_PEPPER, secrets.token_hex(32))
    pepper = str(_PEPPER)
    return {
        "AION_AUTH__FOLDER": str(LOCAL_DIR / "auth"),
        "AION_AUTH__KEY_PEPPER_FILE": pepper,
        "AION_EDGE__KEY_PEPPER_FILE": pepper,
    }


def write_secret(path: Path, text: str) -> None:
    """A file for us alone, in place of what was there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(text + "\n")


def read_addresses(path: Path) -> dict[str, str]:
    """The variables in a file of `NAME=value` lines; an absent file has none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    pairs = (line.partition("=") for line in lines if "=" in line)
    return {name.strip(): value for name, _, value in pairs}
