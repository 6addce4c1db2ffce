"""What can go wrong with a cloud.

CloudError
├── NoCapacity        nothing was bought; another offer may do
│   └── RequestRefused    by a rule of the cloud, which the message names
├── OutcomeUnknown    the purchase may have happened: look for its name before buying again
├── ListingFailed     nothing is known: no buying, no dropping, no sweeping
├── RateLimited       the cloud asks for a pause; nothing was done
└── CloudStopped      nothing is bought here until a person has mended it; the other clouds go on
    ├── KeyRefused        wrong, revoked or too narrow
    ├── BalanceTooLow     no money left, or a spending limit reached
    ├── QuotaExceeded     the account may not have more
    └── ApiRetired        this API is gone: a newer AIMA is needed

Draining              the cluster is stopping and buys nothing (RuntimeError)
LedgerUnavailable     the ledger cannot be read or written now: nothing is bought, what runs can be ended (RuntimeError)
UnknownCloud          no such provider (ValueError)
UnknownNodeType       no such node type (ValueError)
"""

from collections.abc import Iterable


class CloudError(Exception):
    """A cloud refused or did not answer; the message is for people and holds no secret."""


class NoCapacity(CloudError):
    """The offer cannot be had now. Nothing was bought."""


class RequestRefused(NoCapacity):
    """The cloud rejects it by a rule of its own: a wrong setting, or an offer that this account may not buy."""


class OutcomeUnknown(CloudError):
    """The purchase may or may not have happened."""


class ListingFailed(CloudError):
    """The listing is missing or cannot be trusted."""


class RateLimited(CloudError):
    """The cloud asks for a pause of `retry_after_s` seconds. What was asked for was not done."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class CloudStopped(CloudError):
    """This cloud refuses for a reason that waiting does not mend. Nothing was bought."""


class KeyRefused(CloudStopped):
    """The API key is wrong, revoked or may not do this."""


class BalanceTooLow(CloudStopped):
    """The account has no money left, or has reached its spending limit."""


class QuotaExceeded(CloudStopped):
    """The account may not have more machines of this kind."""


class ApiRetired(CloudStopped):
    """The cloud has retired this API; the message names it."""


class Draining(RuntimeError):
    """The cluster is stopping: nothing is bought any more."""


class LedgerUnavailable(RuntimeError):
    """The ledger cannot be read, or does not take what has to be written before a purchase."""


class UnknownCloud(ValueError):
    """Names the clouds there are."""

    def __init__(self, name: str, allowed: Iterable[str]) -> None:
        super().__init__(f"no cloud is called {name!r}; there are: {', '.join(sorted(allowed))}")


class UnknownNodeType(ValueError):
    """Names the node types there are."""

    def __init__(self, name: str, allowed: Iterable[str]) -> None:
        super().__init__(f"no node type is called {name!r}; there are: {', '.join(sorted(allowed))}")


def message_of(error: Exception) -> str:
    """What it says. Some say nothing: whoever ran out of time, for one."""
    return str(error) or ("no answer in time" if isinstance(error, TimeoutError) else type(error).__name__)
