"""Which listed machines belong to a launch, and what stands for one that no list shows. Pure."""

from collections.abc import Iterator, Mapping

from autoscaler.decisions.absences import asked_at
from autoscaler.decisions.commands import Close
from autoscaler.types import Instance, InstanceStatus, Intent, Listing

# What is listed, by (cloud, "name" or "id", which).
Index = dict[tuple[str, str, str], list[Instance]]


def index(listings: Mapping[str, Listing | None]) -> Index:
    """What is listed, by (cloud, "name", name) and by (cloud, "id", id)."""
    found: Index = {}
    for cloud, listing in listings.items():
        for instance in listing.instances if listing else ():
            found.setdefault((cloud, "name", instance.name), []).append(instance)
            found.setdefault((cloud, "id", instance.instance_id), []).append(instance)
    return found


def machines_of(listed: Index, intent: Intent) -> list[Instance]:
    """The machines that carry the launch's name, and its own machine whatever it is called now."""
    cloud, own_id = intent.cloud or "", intent.instance_id or ""
    named = listed.get((cloud, "name", intent.name), [])
    return named if any(i.instance_id == own_id for i in named) else [*named, *listed.get((cloud, "id", own_id), [])]


def presumed(intent: Intent) -> Instance:
    """The machine of a launch as it was sold, whether or not any list shows it."""
    identity = (intent.cloud or "", intent.instance_id or "", intent.name, InstanceStatus.UNKNOWN)
    since = intent.bought_at or asked_at(intent)
    return Instance(*identity, since, intent.price_usd_per_hour or 0.0, machine_id=intent.machine_id)


def out_of_reach(intent: Intent, now: float, max_age_s: float, drain_s: float) -> Iterator[Close]:
    """A launch whose cloud cannot be asked at all, such as one whose key is gone.

    Counted for longer than a machine lets itself live, it would only keep others from being bought. Closed like this it
    is not proved to be gone: whoever asks for that needs a good list of that cloud.
    """
    since = intent.bought_at or intent.answered_at or intent.buying_at or intent.wanted_at
    if now - since > max_age_s + drain_s:
        told = f"{intent.cloud} cannot be asked about {intent.instance_id or intent.name}: look into its console"
        reason = f"presumed to have ended itself at its maximum age; {told}"
        yield Close(intent.name, reason, since + max_age_s)
