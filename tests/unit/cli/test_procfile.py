"""Who is told to end, whatever the runner knows of them by then."""

import io

from honcho.printer import Printer

from actors.cli.procfile import LastingManager


class Killer:
    """Writes down whom it ended."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []

    def terminate(self, pid: int) -> None:
        self.told.append(("SIGTERM", pid))

    def kill(self, pid: int) -> None:
        self.told.append(("SIGKILL", pid))


def test_who_says_its_pid_after_the_end_began_is_ended_then_and_each_life_once() -> None:
    manager, killer = LastingManager(Printer(io.StringIO())), Killer()
    manager._procmgr = killer
    for name in ("early", "late", "ended"):
        manager.add_process(name, "true")
    known = manager._processes
    known["early"]["pid"] = 1
    known["ended"] |= {"pid": 2, "returncode": 0}
    manager.terminate()
    manager.terminate()
    assert killer.told == [("SIGTERM", 1)]
    assert not manager._all_started()
    known["late"]["pid"] = 3
    assert manager._all_started()
    known["early"]["pid"] = 4  # it was being started again
    assert manager._all_started()
    assert killer.told == [("SIGTERM", 1), ("SIGTERM", 3), ("SIGTERM", 4)]
    manager.kill()
    assert killer.told[3:] == [("SIGKILL", 4), ("SIGKILL", 3)]
