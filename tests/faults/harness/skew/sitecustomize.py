"""A machine whose clock is wrong: with this folder in PYTHONPATH, `time.time` is `CLOCK_AHEAD_S` ahead."""

import os
import time

_AHEAD_S = float(os.environ.get("CLOCK_AHEAD_S", "0"))
_time, _time_ns = time.time, time.time_ns


def _ahead() -> float:
    return _time() + _AHEAD_S


def _ahead_ns() -> int:
    return _time_ns() + round(_AHEAD_S * 1e9)


time.time, time.time_ns = _ahead, _ahead_ns
