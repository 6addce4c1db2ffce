"""Which listed machines belong to a launch, and what stands for one that no list shows. Pure."""

from collections.abc import Mapping

from autoscaler.decisions.absences import asked_at
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
