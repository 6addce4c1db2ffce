"""What the hub asks of whoever knows the launches."""

from collections.abc import Mapping
from typing import Any, Protocol

from cluster.overlay.control import Enrolment


class Doorkeeper(Protocol):
    """Decides who comes in, and hears what happens at the door."""

    def awaits(self, knock: str) -> bool:
        """Whether a machine that is waited for would knock like this (ssh.py)."""
        ...

    def expects(self, name: str, token: str) -> bool:
        """Whether `token` is the unused, unexpired join token of launch `name`."""
        ...

    def knows(self, name: str, public_key: str) -> bool:
        """Whether this key was enrolled for `name`, which is still wanted."""
        ...

    async def enrol(self, name: str, token: str | None, enrolment: Enrolment) -> Mapping[str, Any]:
        """Use up the token, remember the key; the same grant again for a known key. Raises PermissionError."""
        ...

    def reported(self, name: str, report: Mapping[str, Any]) -> None:
        """A node says how far it has come."""
        ...

    def refused(self, name: str, why: str) -> None:
        """Somebody was turned away."""
        ...
