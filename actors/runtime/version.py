"""Which AION this is."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache
def installed_version() -> str:
    """AION's version, 0.0.0 when it runs from a tree that was never installed."""
    try:
        return version("aion")
    except PackageNotFoundError:
        return "0.0.0"
