"""What to do about what is seen. A pure function: observed + now -> commands.

The cloud's listing is the truth. No listing (None) means unknown: nothing is bought there, dropped or swept. An
instance is gone when a good listing omits it. What an intent names is found again by that name (adoption).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from autoscaler.types import Instance, InstanceStatus, Intent, IntentState, NodeType


@dataclass(frozen=True)
class Policy:
    """Bounds in seconds.

    `list_lag_s`: how long a cloud may take to list what it has sold. `unused_limit_s`: how long a node may stay that
    Ray calls busy though none of its resources is in use (a forgotten object or helper process holds it).
    """

    list_lag_s: float = 10.0
    join_timeout_s: float = 600.0
    max_age_s: float = 6 * 3600.0
    unused_limit_s: float = 120.0
    cool_down_s: float = 60.0


@dataclass(frozen=True)
class Observed:
    """One look at everything. `listings`: cloud -> its instances, or None where the listing failed.

    `unused`: launch -> since when (unix seconds) none of its resources is in use, and why Ray calls it busy.
    """

    intents: Sequence[Intent]
    listings: Mapping[str, Sequence[Instance] | None]
    node_types: Mapping[str, NodeType]
    unused: Mapping[str, tuple[float, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Buy:
    """Buy a machine for this intent, from one of these clouds."""

    name: str
    clouds: tuple[str, ...]


@dataclass(frozen=True)
class Adopt:
    """The purchase of unknown outcome has happened: this is its instance."""

    name: str
    instance: Instance


@dataclass(frozen=True)
class Terminate:
    """Ask the cloud for the end of an instance. Its launch ends with it, unless it is a `double`.

    `broken`: the machine is to blame, so its offer had better rest.
    """

    name: str
    cloud: str
    instance_id: str
    reason: str
    double: bool = False
    broken: bool = False


@dataclass(frozen=True)
class Close:
    """The intent is over: nothing of it exists any more. `failed`: it was never bought."""

    name: str
    reason: str
    failed: bool = False


Command = Buy | Adopt | Terminate | Close


def decide(observed: Observed, now: float, policy: Policy) -> list[Command]:
    """The commands that bring what is seen nearer to what is wanted, terminations first."""
    commands = [c for intent in observed.intents if intent.live for c in _for_intent(observed, intent, now, policy)]
    commands += _sweep(observed)
    return sorted(commands, key=lambda command: not isinstance(command, Terminate))


def _for_intent(observed: Observed, intent: Intent, now: float, policy: Policy) -> Iterator[Command]:
    if intent.state is IntentState.WANTED:
        yield from _buy(observed, intent)
        return
    if intent.cloud is None:  # ended before anything was bought
        yield Close(intent.name, intent.reason or "never bought")
        return
    listing = observed.listings.get(intent.cloud)
    if listing is None:
        return
    found = [instance for instance in listing if instance.name == intent.name]
    if not found:
        yield from _absent(intent, now, policy)
        return
    kept = next((i for i in found if i.instance_id == intent.instance_id), min(found, key=lambda i: i.created_at))
    for double in found:
        if double is not kept:
            yield _end(double, "a second machine for the same launch", double=True)
    yield from _present(observed, intent, kept, now, policy)


def _buy(observed: Observed, intent: Intent) -> Iterator[Command]:
    node_type = observed.node_types.get(intent.node_type)
    if node_type is None:
        yield Close(intent.name, f"node type {intent.node_type} is not configured any more", failed=True)
        return
    # Ended counts only when a listing has proved it, so unknown and ending machines hold their place.
    taken = sum(
        i.live and i.node_type == node_type.name and i.state is not IntentState.WANTED for i in observed.intents
    )
    earlier = [i for i in observed.intents if i.state is IntentState.WANTED and i.node_type == node_type.name]
    ahead = sorted(earlier, key=lambda i: (i.wanted_at, i.name)).index(intent)
    clouds = tuple(cloud for cloud in node_type.clouds if observed.listings.get(cloud) is not None)
    if clouds and taken + ahead < node_type.max_count:
        yield Buy(intent.name, clouds)


def _absent(intent: Intent, now: float, policy: Policy) -> Iterator[Command]:
    """A good listing omits it: gone, unless it was bought so lately that the listing may lag."""
    since = intent.answered_at or intent.buying_at or intent.wanted_at
    if now - since < policy.list_lag_s:
        return  # a joined or ending one too: closed now, it could appear later and be billed unseen
    never = intent.state is IntentState.BUYING
    lost = "it was never seen in the cloud" if never else "it vanished from the cloud's list"
    yield Close(intent.name, intent.reason or lost, failed=never)


def _present(observed: Observed, intent: Intent, instance: Instance, now: float, policy: Policy) -> Iterator[Command]:
    if intent.state is IntentState.BUYING:
        yield Adopt(intent.name, instance)
    if intent.state is IntentState.ENDING:
        yield _end(instance, intent.reason or "it is not wanted any more")
    elif reason := _fault(intent, instance, now, policy):
        yield _end(instance, reason, broken=True)
    elif reason := _surplus(observed, intent, instance, now, policy):
        yield _end(instance, reason)


def _fault(intent: Intent, instance: Instance, now: float, policy: Policy) -> str:
    if instance.status is InstanceStatus.FAILED:
        return f"its machine has failed: {instance.detail}"
    if intent.joined_at is None and now - instance.created_at > policy.join_timeout_s:
        return f"it did not join within {policy.join_timeout_s:.0f} s"
    return ""


def _surplus(observed: Observed, intent: Intent, instance: Instance, now: float, policy: Policy) -> str:
    if now - instance.created_at > policy.max_age_s:
        return f"it reached its maximum age of {policy.max_age_s:.0f} s"
    since, why = observed.unused.get(intent.name, (now, ""))
    if now - since > policy.unused_limit_s:
        return f"none of its resources was in use for {policy.unused_limit_s:.0f} s, though Ray calls it busy: {why}"
    return ""


def _sweep(observed: Observed) -> Iterator[Command]:
    """End what is ours and what nobody claims. A launch claims machines in one cloud: the one it buys from."""
    claimed = {(intent.cloud, intent.name) for intent in observed.intents if intent.live}
    for listing in observed.listings.values():
        for instance in listing or ():
            if (instance.cloud, instance.name) not in claimed:
                yield _end(instance, "no launch claims it", double=True)


def _end(instance: Instance, reason: str, double: bool = False, broken: bool = False) -> Terminate:
    return Terminate(instance.name, instance.cloud, instance.instance_id, reason, double, broken)
