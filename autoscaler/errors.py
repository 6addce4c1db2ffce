"""What can go wrong with a cloud.

CloudError
├── NoCapacity        nothing was bought; another offer may do
├── OutcomeUnknown    the purchase may have happened: look for its name before buying again
└── ListingFailed     nothing is known: no buying, no dropping, no sweeping

Draining              the cluster is stopping and buys nothing (RuntimeError)
UnknownCloud          no such provider (ValueError)
UnknownNodeType       no such node type (ValueError)
"""

from collections.abc import Iterable


class CloudError(Exception):
    """A cloud refused or did not answer; the message is for people and holds no secret."""


class NoCapacity(CloudError):
    """The offer cannot be had now. Nothing was bought."""


class OutcomeUnknown(CloudError):
    """The purchase may or may not have happened."""


class ListingFailed(CloudError):
    """The listing is missing or cannot be trusted."""


class Draining(RuntimeError):
    """The cluster is stopping: nothing is bought any more."""


class UnknownCloud(ValueError):
    """Names the clouds there are."""

    def __init__(self, name: str, allowed: Iterable[str]) -> None:
        super().__init__(f"no cloud is called {name!r}; there are: {', '.join(sorted(allowed))}")


class UnknownNodeType(ValueError):
    """Names the node types there are."""

    def __init__(self, name: str, allowed: Iterable[str]) -> None:
        super().__init__(f"no node type is called {name!r}; there are: {', '.join(sorted(allowed))}")
