"""Flame graphs name functions, and nothing of the machine they were taken on."""

import sys
from pathlib import Path

from benchmarks.flames import without_this_machine


def test_a_graph_names_neither_processes_nor_folders_of_this_machine() -> None:
    python = Path(sys.executable)
    svg = (
        f"<text>{python.parent}/py-spy record --pid 41 --duration 9 --output {Path.home()}/edge.svg</text>"
        f"<title>process 4711:&quot;{python} -m actors run edge&quot; (12 samples)</title>"
        "<title>Front.handle (edge/http/front.py:36) (9 samples)</title>"
    )
    shown = without_this_machine(svg)
    assert str(python.parent) not in shown
    assert str(Path.home()) not in shown
    assert "4711" not in shown
    assert f"process &quot;{python.name} -m actors run edge&quot; (12 samples)" in shown
    assert "edge/http/front.py:36" in shown
