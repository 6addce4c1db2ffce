"""Which launches the lists of their clouds omit, and what the clouds say when they are asked for one by its id."""

import asyncio
from collections.abc import Mapping, Sequence

from autoscaler.decisions.absences import Absence, Lookup, observe
from autoscaler.decisions.commands import LookUp
from autoscaler.fleet.launches import Launches
from autoscaler.fleet.spec import Pace
from autoscaler.fleet.watch import Watch, bounded
from autoscaler.types import Intent, Listing

# Questions to one cloud at a time: a list that omits many machines is likely to be wrong.
_AT_ONCE = 4


class SecondLooks:
    """In memory only: after a restart an absence has to be confirmed anew."""

    def __init__(self, launches: Launches, watch: Watch, pace: Pace) -> None:
        self._launches, self._watch, self._pace = launches, watch, pace
        self._asking = {cloud: asyncio.Semaphore(_AT_ONCE) for cloud in watch.providers}
        self.absences: dict[str, Absence] = {}
        self.lookups: dict[str, Lookup] = {}

    def observe(self, intents: Sequence[Intent], listings: Mapping[str, Listing | None]) -> None:
        """Take in what has been listed. What a cloud said of a machine that is listed again counts no more."""
        listed = {cloud for cloud, listing in listings.items() if listing is not None and listing.news}
        self.absences = observe(self.absences, intents, listings)
        unlisted = {intent.name for intent in intents if intent.cloud not in listed}
        self.lookups = {n: told for n, told in self.lookups.items() if n in self.absences or n in unlisted}

    async def ask(self, command: LookUp) -> None:
        """Ask for one machine by its id; no answer leaves it unclear."""
        try:
            async with self._asking[command.cloud]:
                self.lookups[command.name] = Lookup(self._launches.clock())
                question = self._watch.providers[command.cloud].instance_exists(command.instance_id)
                exists = await bounded(question, self._pace.call_timeout_s)
        except Exception as error:  # its next list, or the next question, will tell
            self._watch.failed(command.cloud, "lookup", f"it does not say whether {command.name} exists", error)
            return
        self._watch.recovered(command.cloud, "lookup")
        self.lookups[command.name] = Lookup(self._launches.clock(), exists)
        if exists:
            self.absences.pop(command.name, None)  # it is omitted anew, if at all
            self._launches.note(command.name, f"{command.cloud} does not list it, though it exists: it is kept")
