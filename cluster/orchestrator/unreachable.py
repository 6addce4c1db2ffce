"""What stands in for a cloud that cannot be asked: it may hold machines of ours, and so it is no less a cloud."""

from collections.abc import Sequence
from typing import NoReturn

from autoscaler.errors import KeyRefused
from autoscaler.types import Instance, LaunchRequest, NodeType, Offer, SkippedRow


class Unreachable:
    """A cloud that cannot be asked, such as one whose key is gone: every call raises KeyRefused with the reason."""

    def __init__(self, name: str, reason: str) -> None:
        self.name, self._reason = name, reason

    async def list_offers(self, node_type: NodeType) -> Sequence[Offer]:
        """Raises KeyRefused."""
        self._refuse()

    async def create_instance(self, request: LaunchRequest) -> Instance:
        """Raises KeyRefused."""
        self._refuse()

    async def list_instances(self) -> Sequence[Instance]:
        """Raises KeyRefused."""
        self._refuse()

    def skipped_rows(self) -> Sequence[SkippedRow]:
        """There is no list."""
        return ()

    async def instance_exists(self, instance_id: str) -> bool:
        """Raises KeyRefused."""
        self._refuse()

    async def terminate_instance(self, instance_id: str) -> None:
        """Raises KeyRefused."""
        self._refuse()

    async def log_excerpt(self, instance_id: str) -> str:
        """Nothing is known."""
        return ""

    async def close(self) -> None:
        """There is no connection."""

    def _refuse(self) -> NoReturn:
        raise KeyRefused(self._reason)
