"""Whether a machine that its cloud does not list is gone: one answer is not the truth. Pure.

A list can be empty or partial by mistake, once or for a while. An absence is confirmed by a second look: by asking for
the machine by its id or, where that gives no clear answer for long, by later lists. Only where its end was asked for
and accepted does the first list suffice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from autoscaler.types import Intent, IntentState, Listing

# Between two questions about one machine, where lists do not lag.
_LEAST_LOOKUP_S = 5.0
# Lists alone confirm the absence of a machine that could be asked for, but gave no clear answer, only after so long: a
# cloud whose lists are wrong may well fail to answer for one machine at the same time.
_UNANSWERED_S = 120.0


@dataclass(frozen=True)
class Absence:
    """A launch that the lists of its cloud omit. Times are unix seconds.

    `since` and `latest`: as of when the first and the latest of these lists were asked for; `answered_at`: when the
    first was had, for a bill goes no further.
    """

    since: float
    latest: float
    answered_at: float


@dataclass(frozen=True)
class Lookup:
    """A question about one machine by its id: when it was asked, and whether it exists; None when it is unclear."""

    at: float
    exists: bool | None = None


Absences = Mapping[str, Absence]


def observe(before: Absences, intents: Sequence[Intent], listings: Mapping[str, Listing | None]) -> dict[str, Absence]:
    """The absences after these lists. An unknown list changes nothing; what is listed again is not absent any more."""
    found: dict[str, Absence] = {}
    shown = {cloud: _shown(listing) for cloud, listing in listings.items() if listing is not None and listing.news}
    for intent in intents:
        earlier, cloud = before.get(intent.name), intent.cloud or ""
        listing = listings.get(cloud)
        if listing is None or not listing.news or listing.as_of < asked_at(intent):
            if earlier is not None:
                found[intent.name] = earlier
        elif intent.state is not IntentState.WANTED and shown[cloud].isdisjoint(_known_as(intent)):
            first = earlier or Absence(listing.as_of, listing.as_of, listing.answered_at)
            found[intent.name] = replace(first, latest=listing.as_of)
    return found


def asked_at(intent: Intent) -> float:
    """From when on a list may be expected to show it."""
    return intent.answered_at or intent.buying_at or intent.wanted_at


def confirmed(absence: Absence, lookup: Lookup | None, accepted: bool, has_id: bool, lag_s: float) -> bool:
    """Whether it is gone. `accepted`: its cloud has accepted to end it; `has_id`: it can be asked for."""
    if accepted or denied(lookup):
        return True
    asked = lookup is not None and lookup.at >= absence.since
    if (lookup is not None and lookup.exists and asked) or (has_id and not asked):
        return False
    needed_s = max(lag_s, _UNANSWERED_S) if has_id else lag_s
    return absence.latest > absence.since and absence.latest - absence.since >= needed_s


def lookup_due(lookup: Lookup | None, now: float, lag_s: float) -> bool:
    """Whether its cloud is to be asked for it by its id."""
    return lookup is None or now - lookup.at >= max(lag_s, _LEAST_LOOKUP_S)


def denied(lookup: Lookup | None) -> bool:
    """Whether its cloud says that there is no such machine."""
    return lookup is not None and lookup.exists is False


def _shown(listing: Listing) -> set[tuple[str, str]]:
    """What the list has, by name and by id, together with rows that could not be read: they may be what is missed."""
    known = [(i.name, i.instance_id) for i in listing.instances] + [(r.name, r.instance_id) for r in listing.skipped]
    return {("name", name) for name, _id in known} | {("id", instance_id) for _name, instance_id in known}


def _known_as(intent: Intent) -> set[tuple[str, str]]:
    """How a list may show it; a machine that no launch claims is known by its id only."""
    ids = {("id", intent.instance_id)} if intent.instance_id else set()
    return ids if intent.stray else ids | {("name", intent.name)}
