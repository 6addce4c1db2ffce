"""What to do about what is seen. A pure function: observed + now -> commands.

No listing (None) means unknown: nothing is bought there, dropped or swept. An instance is gone when a good listing
omits it and a second look confirms that (absences.py). What an intent names is found again by that name (adoption), and
what is listed has to be what was bought (promises.py).
"""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from autoscaler.decisions.absences import Absence, Lookup, asked_at, confirmed, denied, lookup_due
from autoscaler.decisions.budget import ALL
from autoscaler.decisions.commands import Adopt, Buy, Close, Command, Drain, LookUp, Terminate, Wait
from autoscaler.decisions.listed import Index, index, machines_of, out_of_reach, presumed
from autoscaler.decisions.promises import breach
from autoscaler.types import DRAINING, Instance, InstanceStatus, Intent, IntentState, Listing, NodeType


@dataclass(frozen=True)
class Policy:
    """Bounds in seconds.

    `list_lag_s`: how long a cloud may take to list what it has sold; `list_lags_s` where one differs. `unused_limit_s`:
    how long a node may stay that Ray calls busy though none of its resources is in use (a forgotten object holds it).
    `unreported_limit_s`: how long Ray may leave a node out when it tells of its nodes, such as one that never rejoined
    a restarted head. `silent_limit_s`: how long Ray may say nothing of any: a silent Ray ends nothing, either.
    `drain_s`: how long a draining node's work may go on. `price_tolerance`: the share by which a price may grow.
    `retired`: clouds that are looked after but not bought from any more: what runs there drains. `unreachable`: clouds
    that cannot be asked at all, such as one whose key is gone.
    """

    list_lag_s: float = 10.0
    join_timeout_s: float = 600.0
    max_age_s: float = 6 * 3600.0
    unused_limit_s: float = 120.0
    unreported_limit_s: float = 180.0
    silent_limit_s: float = 900.0
    drain_s: float = 120.0
    cool_down_s: float = 60.0
    price_tolerance: float = 0.02
    list_lags_s: Mapping[str, float] = field(default_factory=dict)
    retired: AbstractSet[str] = frozenset()
    unreachable: AbstractSet[str] = frozenset()

    def lag_s(self, cloud: str) -> float:
        """How long `cloud` may take to list what it has sold."""
        return self.list_lags_s.get(cloud, self.list_lag_s)


@dataclass(frozen=True)
class Observed:
    """One look at everything. `listings`: cloud -> its instances, or None where nothing is known.

    `unused`: launch -> since when (unix seconds) none of its resources is in use, and why Ray calls it busy.
    `unreported`: node -> since when Ray has not named it, and whether Ray says anything of nodes at all meanwhile.
    `purchasing`: launches whose purchase is under way in this process. Why nothing may be bought: `held` by cloud,
    `tripped` by node type. `drained`: launch, cloud, or all clouds, -> why it, or everything there, must end after its
    work; `overspent`: cloud, or all clouds, -> why everything there must end at once. `asked_to_end`: (cloud, instance
    id) of what its cloud has accepted, in this process, to end. `absences` and `lookups`, by launch: which of them
    lists omit, and what their cloud said when it was asked for one.
    """

    intents: Sequence[Intent]
    listings: Mapping[str, Listing | None]
    node_types: Mapping[str, NodeType]
    unused: Mapping[str, tuple[float, str]] = field(default_factory=dict)
    unreported: Mapping[str, tuple[float, bool]] = field(default_factory=dict)
    purchasing: frozenset[str] = frozenset()
    held: Mapping[str, str] = field(default_factory=dict)
    tripped: Mapping[str, str] = field(default_factory=dict)
    drained: Mapping[str, str] = field(default_factory=dict)
    overspent: Mapping[str, str] = field(default_factory=dict)
    asked_to_end: AbstractSet[tuple[str, str]] = frozenset()
    absences: Mapping[str, Absence] = field(default_factory=dict)
    lookups: Mapping[str, Lookup] = field(default_factory=dict)


def decide(observed: Observed, now: float, policy: Policy) -> list[Command]:
    """The commands that bring what is seen nearer to what is wanted, terminations first."""
    found = index(observed.listings)
    commands = [c for i in observed.intents if i.live for c in _for_intent(observed, found, i, now, policy)]
    commands += _purchases(observed)
    commands += _sweep(observed)
    return sorted(commands, key=lambda command: not isinstance(command, Terminate))


def _for_intent(
    observed: Observed,
    listed: Index,
    intent: Intent,
    now: float,
    policy: Policy,
) -> Iterator[Command]:
    if intent.cloud is None:
        if intent.state is not IntentState.WANTED:  # ended before anything was bought
            yield Close(intent.name, intent.reason or "never bought")
        return
    listing = observed.listings.get(intent.cloud)
    if listing is None or not listing.news:
        yield from _unlisted(observed, intent, now, policy)
        return
    found = () if intent.stray else machines_of(listed, intent)
    if not found:
        if intent.name in observed.absences and intent.name not in observed.purchasing:
            yield from _absent(observed, intent, listing, now, policy)
        return  # the end of what no launch claims is asked for by whoever finds it listed
    oldest = min(found, key=lambda i: float("inf") if i.created_at is None else i.created_at)
    kept = next((i for i in found if i.instance_id == intent.instance_id), oldest)
    for double in found:
        if double.instance_id != kept.instance_id:
            yield Terminate(double, "a second machine for the same launch", double=True)
    yield from _present(observed, intent, kept, now, policy)


def _unlisted(observed: Observed, intent: Intent, now: float, policy: Policy) -> Iterator[Command]:
    """Without a new list: a machine whose id is known is bounded in time all the same."""
    if intent.cloud in policy.unreachable:
        yield from out_of_reach(intent, now, policy.max_age_s, policy.drain_s)
    elif observed.listings.get(intent.cloud or "") is None and _accepted(observed, intent):
        yield from _unseen(observed, intent, now, policy)
    elif intent.state is IntentState.BOUGHT and intent.instance_id is not None:
        yield from _present(observed, intent, presumed(intent), now, policy)


def _purchases(observed: Observed) -> Iterator[Command]:
    """Buy for the longest waiting first, up to each node type's bound. A rival stands in for its twin: it adds none."""
    live = {intent.name: intent for intent in observed.intents if intent.live}
    taken: dict[str, int] = {}
    for intent in live.values():
        if intent.state is not IntentState.WANTED and intent.rival_of not in live:
            # Ended counts only when a listing has proved it, so unknown and ending machines hold their place.
            taken[intent.node_type] = taken.get(intent.node_type, 0) + 1
    wanted = [intent for intent in live.values() if intent.state is IntentState.WANTED]
    for intent in sorted(wanted, key=lambda i: (i.wanted_at, i.name)):
        twin = live.get(intent.rival_of or "")
        if intent.name in observed.purchasing or (twin is not None and twin.state is IntentState.WANTED):
            continue
        yield _purchase(observed, intent, 0 if twin else taken.get(intent.node_type, 0))
        if twin is None:
            taken[intent.node_type] = taken.get(intent.node_type, 0) + 1


def _purchase(observed: Observed, intent: Intent, taken: int) -> Command:
    node_type = observed.node_types.get(intent.node_type)
    if node_type is None:
        return Close(intent.name, f"node type {intent.node_type} is not configured any more", failed=True)
    if taken >= node_type.max_count:
        return Wait(intent.name, f"{node_type.name} has its max_count of {node_type.max_count} machines")
    if reason := observed.tripped.get(node_type.name):
        return Wait(intent.name, reason)
    reasons = {cloud: _why_not(observed, cloud) for cloud in node_type.clouds}
    clouds = tuple(cloud for cloud, reason in reasons.items() if not reason)
    if not clouds:
        return Wait(intent.name, "; ".join(f"{cloud}: {reason}" for cloud, reason in reasons.items()))
    return Buy(intent.name, clouds)


def _why_not(observed: Observed, cloud: str) -> str:
    if observed.listings.get(cloud) is None:
        return observed.held.get(cloud) or "its list of instances is not known"
    return observed.held.get(cloud, "") or _found(observed.drained, ALL, cloud)


def _found(reasons: Mapping[str, str], *keys: str) -> str:
    return next((reasons[key] for key in keys if key in reasons), "")


def _absent(observed: Observed, intent: Intent, listing: Listing, now: float, policy: Policy) -> Iterator[Command]:
    """A good list omits it. Gone once that is confirmed; what no list has shown yet may still lag."""
    since, lag_s = asked_at(intent), policy.lag_s(intent.cloud or "")
    lagging = intent.listed_at is None and listing.as_of - since < lag_s
    if lagging and not intent.stray:
        return  # a joined or ending one too: closed now, it could appear later and be billed unseen
    never = intent.state is IntentState.BUYING
    lost = "it was never seen in the cloud" if never else "it vanished from the cloud's list"
    early = intent.joined_at is None and intent.state is IntentState.BOUGHT
    if intent.instance_id is not None and _may_run_unseen(observed, intent):
        ending = intent.state is IntentState.ENDING
        yield Terminate(presumed(intent), intent.reason if ending else lost, broken=early)
        return
    absence, accepted = observed.absences[intent.name], _accepted(observed, intent)
    if confirmed(absence, observed.lookups.get(intent.name), accepted, intent.instance_id is not None, lag_s):
        # What was to end first, or what no list has shown, may have run until this very list.
        at = listing.answered_at if accepted or intent.listed_at is None else absence.answered_at
        yield Close(intent.name, intent.reason or lost, at, never, intent.broken or never or early)
        return
    yield from _unseen(observed, intent, now, policy)
    if intent.instance_id is not None and not intent.stray:  # its deadlines hold, listed or not
        yield from _present(observed, intent, presumed(intent), now, policy)


def _unseen(observed: Observed, intent: Intent, now: float, policy: Policy) -> Iterator[Command]:
    """Ask for it by its id; without a list that is the second look at what its cloud has accepted to end."""
    cloud, lookup = intent.cloud or "", observed.lookups.get(intent.name)
    if observed.listings.get(cloud) is None and lookup is not None and denied(lookup):
        yield Close(intent.name, intent.reason, lookup.at, broken=intent.broken)
    elif intent.instance_id is not None and lookup_due(lookup, now, policy.lag_s(cloud)):
        yield LookUp(intent.name, cloud, intent.instance_id)


def _accepted(observed: Observed, intent: Intent) -> bool:
    """Whether its cloud has accepted to end its machine."""
    return (intent.cloud or "", intent.instance_id or "") in observed.asked_to_end


def _may_run_unseen(observed: Observed, intent: Intent) -> bool:
    """Whether it was sold under an id that no list has shown, and its cloud has not accepted yet to end it."""
    sold = intent.state in (IntentState.BOUGHT, IntentState.ENDING)
    return sold and intent.listed_at is None and not intent.stray and not _accepted(observed, intent)


def _present(observed: Observed, intent: Intent, instance: Instance, now: float, policy: Policy) -> Iterator[Command]:
    if intent.instance_id is None:  # one that was given up meanwhile has its bill, too
        yield Adopt(intent.name, instance)
    if intent.state is IntentState.ENDING:
        yield Terminate(instance, intent.reason or "it is not wanted any more")
    elif reason := _fault(intent, instance, now, policy):
        yield Terminate(instance, reason, broken=True)
    elif reason := _surplus(observed, intent, instance, now, policy):
        yield Terminate(instance, reason)
    else:
        yield from _draining(observed, intent, instance, now, policy)


def _draining(observed: Observed, intent: Intent, instance: Instance, now: float, policy: Policy) -> Iterator[Command]:
    """What the budget ends, and what drains: at once without work, else after its work, within `drain_s`."""
    scopes = (ALL, instance.cloud, intent.name) if _costs(intent, instance) else ()
    since, used_up = intent.phases.get(DRAINING), _found(observed.drained, *scopes)
    if instance.cloud in policy.retired:
        used_up = used_up or f"the settings do not name {instance.cloud} any more"
    if overspent := _found(observed.overspent, *scopes):
        yield Terminate(instance, overspent)
        return
    if since is None and not used_up:
        return  # one that drains goes on with it, whatever has changed since: Ray's nodes do not come back from it
    reason = used_up or intent.reason or "it takes no new work"
    if intent.joined_at is None or intent.name in observed.unused:
        yield Terminate(instance, reason)
    elif since is None:
        yield Drain(intent.name, reason)
    elif now - since >= policy.drain_s:
        yield Terminate(instance, f"{reason}; its work was not over {policy.drain_s:.0f} s later")


def _costs(intent: Intent, instance: Instance) -> bool:
    """Whether ending it saves money: a machine of our own that was taken for nothing may stay."""
    return intent.accepted_usd_per_hour != 0 or instance.price_usd_per_hour > 0


def _age_s(intent: Intent, instance: Instance, now: float) -> float:
    """Seconds since the purchase by our own clock: a cloud's may be minutes off."""
    return now - (intent.bought_at or max(instance.created_at or 0.0, intent.buying_at or intent.wanted_at))


def _fault(intent: Intent, instance: Instance, now: float, policy: Policy) -> str:
    if instance.status is InstanceStatus.FAILED:
        return f"its machine has failed: {instance.detail}"
    if intent.joined_at is None and _age_s(intent, instance, now) > policy.join_timeout_s:
        last = f"; the cloud says: {instance.detail}" if instance.detail else ""
        return f"it did not join within {policy.join_timeout_s:.0f} s{last}"
    accepted, price = intent.accepted_usd_per_hour, instance.price_usd_per_hour
    if accepted is not None and price > accepted * (1 + policy.price_tolerance):
        return f"it is charged at {price:.4g} USD/h, accepted were {accepted:.4g}"
    return breach(intent.promise, instance.traits)


def _surplus(observed: Observed, intent: Intent, instance: Instance, now: float, policy: Policy) -> str:
    if _age_s(intent, instance, now) > policy.max_age_s:
        return f"it reached its maximum age of {policy.max_age_s:.0f} s"
    silent_since, speaks = observed.unreported.get(intent.name, (now, True))
    if now - silent_since > (limit_s := policy.unreported_limit_s if speaks else policy.silent_limit_s):
        return f"Ray says nothing of {'it, but of others' if speaks else 'any node'}, for {limit_s:.0f} s"
    since, why = observed.unused.get(intent.name, (now, ""))
    if now - since > policy.unused_limit_s:
        return f"none of its resources was in use for {policy.unused_limit_s:.0f} s, though Ray calls it busy: {why}"
    return ""


def _sweep(observed: Observed) -> Iterator[Command]:
    """End what is ours and what nobody claims. A launch claims machines in one cloud: the one it buys from."""
    live = [intent for intent in observed.intents if intent.live]
    claimed = {(intent.cloud, intent.name) for intent in live}
    known = {(intent.cloud, intent.instance_id) for intent in live if not intent.stray}
    for listing in observed.listings.values():
        if listing is None or not listing.news:
            continue
        for instance in listing.instances:
            if (instance.cloud, instance.name) not in claimed and (instance.cloud, instance.instance_id) not in known:
                yield Terminate(instance, "no launch claims it", double=True)
