"""What a process on a worker tells its machine's first process: how far it has come."""

import contextlib
import os
import socket

# The address of the first process's socket; unset where nobody listens.
VARIABLE = "AIMA_PHASES"


def announce(phase: str) -> None:
    """Say it once and go on, whether anybody listens or not."""
    address = os.environ.get(VARIABLE)
    if address:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
            to.sendto(phase.encode(), address)
