"""What a rented machine is told: its environment and its start command, as text that tests read.

The cloud shows both to whoever may read the instance, and keeps them. So the only secret is a one-time join token,
worthless after its first use, after the deadline for joining, and for any other
launch. Everything else comes through the tunnel.
"""

from dataclasses import dataclass

START_COMMAND = ("python", "-m", "cluster.worker.local_entrypoint")


@dataclass(frozen=True)
class HubAddress:
    """Where workers dial in: a public host and port, and the host key they must find there ("SHA256:...").

    A worker on the head's own machine may dial a Unix socket instead: host "unix:/path", port 0.
    """

    host: str
    port: int
    key_fingerprint: str

    def __str__(self) -> str:
        return self.host if self.socket_path else f"{self.host}:{self.port}"

    @property
    def socket_path(self) -> str:
        """The Unix socket's path; empty for a host."""
        return self.host.removeprefix("unix:") if self.host.startswith("unix:") else ""

    @classmethod
    def parse(cls, text: str, key_fingerprint: str) -> "HubAddress":
        """What `str` gave, read. Raises ValueError."""
        if text.startswith("unix:"):
            return cls(text, 0, key_fingerprint)
        host, _, port = text.rpartition(":")
        return cls(host, int(port), key_fingerprint)


@dataclass(frozen=True)
class WorkerBounds:
    """Seconds that the machine keeps by itself, whatever becomes of us: until it has joined, and in all."""

    join_timeout_s: float
    max_age_s: float


def worker_environment(name: str, hub: HubAddress, join_token: str, bounds: WorkerBounds) -> dict[str, str]:
    """The variables that `cluster.worker.local_entrypoint` reads on a machine that joins through the overlay.

    name: the launch's unique name. join_token: single use, bound to that name.
    """
    return {
        "AIMA_INSTANCE": name,
        "AIMA_HUB": str(hub),
        "AIMA_HUB_KEY": hub.key_fingerprint,
        "AIMA_JOIN_TOKEN": join_token,
        "AIMA_JOIN_TIMEOUT_S": f"{bounds.join_timeout_s:g}",
        "AIMA_MAX_AGE_S": f"{bounds.max_age_s:g}",
    }
