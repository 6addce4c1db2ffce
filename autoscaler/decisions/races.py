"""Two candidates for one launch: Ray sees one of them, the first to join stays. Pure."""

from collections.abc import Sequence

from autoscaler.types import Intent, IntentState


def pair(live: Sequence[Intent], name: str) -> list[Intent]:
    """The live launch `name` and its live rival, whichever of the two it is."""
    by_name = {intent.name: intent for intent in live}
    twin = by_name[name].rival_of if name in by_name else None
    return [i for i in live if i.name == name or i.name == twin or i.rival_of == name]


def visible(live: Sequence[Intent]) -> list[Intent]:
    """What Ray is to see: of each race the one that has joined, else the first that is not ending. No strays."""
    live = [intent for intent in live if not intent.stray]
    rivals = {intent.rival_of: intent for intent in live if intent.rival_of is not None}
    names, shown = {intent.name for intent in live}, []
    for intent in live:
        if intent.rival_of in names:
            continue
        rival = rivals.get(intent.name)
        shown.append(intent if rival is None else min(intent, rival, key=_place))
    return shown


def _place(intent: Intent) -> tuple[bool, bool, bool]:
    """Orders candidates: working, then coming, then going; of equals the first that was wanted."""
    ending = intent.state is IntentState.ENDING
    return ending, intent.joined_at is None, intent.rival_of is not None
