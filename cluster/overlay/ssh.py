"""What hub and spoke agree on: algorithms, keepalive, and a process fit to move bulk data."""

import contextlib
import ctypes
import hashlib
import os
import resource
from pathlib import Path
from typing import Any

import asyncssh

# AES-GCM first: with the CPU's own instructions it costs a fraction of everything else in a packet.
ALGORITHMS: dict[str, Any] = {
    "encryption_algs": ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com"],
    "kex_algs": ["curve25519-sha256", "curve25519-sha256@libssh.org"],
    "compression_algs": ["none"],
}
# A silent link is given up only after this long: one that comes back earlier has lost nothing.
SILENCE_S = 90.0
# Often enough for a NAT that forgets idle flows after 60 s.
_KEEPALIVE_S, _KEEPALIVE_COUNT = 15.0, 6
# How long a connection may take to show who it is, and then to enrol.
LOGIN_TIMEOUT_S = 15.0

_KNOCK_CHARACTERS = 32

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def prepare_process() -> None:
    """Allow as many sockets as the system does, and keep packets on the heap.

    glibc maps every buffer over 128 KiB anew; at our packet size that costs four times the work of moving the data.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with contextlib.suppress(OSError, AttributeError):  # another C library: slower, not wrong
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 8 * 1024**2)
        libc.mallopt(_M_TRIM_THRESHOLD, 16 * 1024**2)


def keepalive(silence_s: float) -> tuple[float, int]:
    """The interval, and the number of unanswered ones after which a link silent for `silence_s` is given up."""
    interval_s = min(_KEEPALIVE_S, silence_s / _KEEPALIVE_COUNT)
    return interval_s, round(silence_s / interval_s)


def machine_identity() -> str:
    """The same text for two processes exactly when they share a network namespace, and so all loopback ports."""
    namespace = os.stat("/proc/self/ns/net")
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    return hashlib.sha256(f"{boot}{namespace.st_dev}:{namespace.st_ino}".encode()).hexdigest()[:32]


def public_key_text(key: asyncssh.SSHKey) -> str:
    """Algorithm and key as OpenSSH writes them, without the comment."""
    return " ".join(key.export_public_key().decode().split()[:2])


def token_digest(token: str) -> bytes:
    """What is kept of a join token."""
    return hashlib.sha256(token.encode()).digest()


def token_knock(digest: bytes) -> str:
    """What a machine writes into its first line, for the hub to let it through first. It tells nothing of the token."""
    return hashlib.sha256(b"aima knocks with a token" + digest).hexdigest()[:_KNOCK_CHARACTERS]


def key_knock(public_key: str) -> str:
    """The same for a machine that has enrolled."""
    return hashlib.sha256(b"aima knocks with a key" + public_key.encode()).hexdigest()[:_KNOCK_CHARACTERS]
