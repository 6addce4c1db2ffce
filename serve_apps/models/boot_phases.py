"""What a process on a worker tells its machine's first process: how far it has come."""

import contextlib
import os
import socket

# "@" and the name of the first process's socket; unset where nobody listens. The name is the kernel's and no file's: it
# is gone with the process, however that ends.
VARIABLE = "AIMA_PHASES"


def listener() -> socket.socket:
    """A non-blocking socket that gets every phase that this process's descendants, started from now on, announce."""
    ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    ear.bind("")
    os.environ[VARIABLE] = "@" + ear.getsockname()[1:].decode("ascii")
    return ear


def announce(phase: str) -> None:
    """Say it once and go on, whether anybody listens or not."""
    address = os.environ.get(VARIABLE)
    if address:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
            to.sendto(phase.encode(), "\0" + address[1:])
