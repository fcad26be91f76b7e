"""What a child gives up before it touches a module: privileges, core dumps, file writing, its parent's death."""

import ctypes
import os
import resource
import signal

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_NO_NEW_PRIVS = 38


def confine(parent_pid: int, *, writable: bool) -> None:
    """Bind this process's life to its parent's and drop what it never needs; on Linux only, elsewhere limits alone.

    `writable` leaves file writing possible, for the compiler's artifact.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if not writable:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "prctl"):
        for option, value in ((PR_SET_PDEATHSIG, int(signal.SIGKILL)), (PR_SET_NO_NEW_PRIVS, 1), (PR_SET_DUMPABLE, 0)):
            if libc.prctl(option, value, 0, 0, 0) != 0:
                raise OSError(ctypes.get_errno(), f"prctl {option} was refused")
    if os.getppid() != parent_pid:  # the parent died before the death signal was set
        os._exit(1)
    os.chdir("/")
