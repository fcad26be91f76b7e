"""A valkey-server of a test's own, to be killed and started again on the same port."""

import socket
import subprocess
import time

from deploy.local.valkey import find_binary


class Valkeyd:
    """It keeps nothing on disk: whoever starts it again finds it empty."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> "Valkeyd":
        """Start it, and wait until it answers."""
        where = ("--bind", "127.0.0.1", "--port", str(self.port))
        command = [str(find_binary()), *where, "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        for _ in range(500):
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                    connection.sendall(b"PING\r\n")
                    if connection.recv(16) == b"+PONG\r\n":
                        return self
            except OSError:
                time.sleep(0.01)
        raise AssertionError("valkey-server does not answer")

    def kill(self) -> None:
        """SIGKILL, unless it is gone already."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
