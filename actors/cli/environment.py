"""The environment that commands read: the process's own, over what `servers up` wrote down."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

LOCAL_DIR: Final = Path("var/local")
_ADDRESSES: Final = LOCAL_DIR / "servers.env"


def environment(own: Mapping[str, str] | None = None) -> dict[str, str]:
    """`own` (default: os.environ), with the addresses of the development servers where it names none.

    They are left out in production and where an `aion.toml` speaks: a forgotten file must not decide then.
    """
    given = dict(os.environ if own is None else own)
    if given.get("AION_ENV") == "production" or "AION_CONFIG" in given or Path("aion.toml").exists():
        return given
    return {**read_addresses(_ADDRESSES), **given}


def read_addresses(path: Path) -> dict[str, str]:
    """The variables in a file of `NAME=value` lines; an absent file has none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    pairs = (line.partition("=") for line in lines if "=" in line)
    return {name.strip(): value for name, _, value in pairs}
