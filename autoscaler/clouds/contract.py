"""The one seam to clouds. A new cloud is one new file in this folder that keeps this contract."""

from collections.abc import Sequence
from typing import Protocol

from autoscaler.types import Instance, LaunchRequest, NodeType, Offer, SkippedRow


class CloudProvider(Protocol):
    """A cloud, as seen by one cluster. Every method may raise CloudError."""

    name: str

    async def list_offers(self, node_type: NodeType) -> Sequence[Offer]:
        """What could be bought for this need now. May be a little stale: a purchase can still find it gone."""
        ...

    async def create_instance(self, request: LaunchRequest) -> Instance:
        """Buy one. Not idempotent: the caller writes its name down first, and looks for it before a second try.

        Raises NoCapacity when surely nothing was bought, OutcomeUnknown when it may have been.
        """
        ...

    async def list_instances(self) -> Sequence[Instance]:
        """All instances of this cluster, complete; raises ListingFailed rather than return a part.

        A new instance may be missing for some seconds, and an ended one is absent. One whose name and id can be read
        is listed whatever else is odd about it; a row without them is skipped and told by `skipped_rows`.
        """
        ...

    def skipped_rows(self) -> Sequence[SkippedRow]:
        """What the latest list and the latest offers contained that could not be read."""
        ...

    async def instance_exists(self, instance_id: str) -> bool:
        """A second look at one instance. False only when the cloud says that there is no such instance."""
        ...

    async def terminate_instance(self, instance_id: str) -> None:
        """Ask for its end. Idempotent; returning says nothing about whether it is gone."""
        ...

    async def log_excerpt(self, instance_id: str) -> str:
        """The last lines of what the cloud says of the instance, such as why its image cannot be pulled; "" if none."""
        ...

    async def close(self) -> None:
        """Let go of connections; the provider is not used afterwards."""
        ...
