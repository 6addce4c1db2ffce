"""What can go wrong between a client and a cluster.

ClientError
├── NoCluster    there is no cluster, or no key for it
├── Unreachable  no answer, for longer than a restart takes
└── ApiError     the API refused; `status` and `problem` say what
"""

from collections.abc import Mapping
from typing import Any


class ClientError(RuntimeError):
    """Anything below."""


class NoCluster(ClientError):
    """No cluster runs in this state directory."""


class Unreachable(ClientError):
    """The API does not answer."""


class ApiError(ClientError):
    """The API refused a request; `problem` is its RFC 9457 body."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(str(problem.get("detail") or problem.get("title") or f"HTTP {status}"))
        self.status, self.problem = status, problem

    @property
    def field(self) -> str | None:
        """The first field to mend, where one is wrong."""
        return self.problem.get("field")
