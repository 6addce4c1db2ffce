"""The loopback device of a network namespace that was made a moment ago."""

import fcntl
import socket
import struct

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1
_REQUEST = struct.Struct("16sH22x")  # struct ifreq: the name, the flags


def bring_up(device: str = "lo") -> None:
    """Switch it on; nothing to do where it is on already. Raises PermissionError where that is not ours to do."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        name, flags = _REQUEST.unpack(fcntl.ioctl(control, _SIOCGIFFLAGS, _REQUEST.pack(device.encode(), 0)))
        if not flags & _IFF_UP:
            fcntl.ioctl(control, _SIOCSIFFLAGS, _REQUEST.pack(name, flags | _IFF_UP))
