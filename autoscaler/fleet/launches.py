"""All launches that are not over, in memory for every read; each change goes to the ledger's journal.

Nothing here waits for the database. Only a purchase does, with `durable`: the record comes before the money.
"""

import logging
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import wait
from dataclasses import replace
from typing import Any

from autoscaler.decisions.budget import counted_usd_per_hour, dearest
from autoscaler.decisions.promises import learned
from autoscaler.decisions.selection import Experience, Experiences
from autoscaler.errors import LedgerUnavailable, message_of
from autoscaler.fleet.measures import Measures, outcome, tell
from autoscaler.names import launch_name, stray_name
from autoscaler.records.history import Bill, History
from autoscaler.records.journal import Journal
from autoscaler.records.ledger import Event, spent_by_live_usd
from autoscaler.records.sentences import NAME_CHARACTERS, printable
from autoscaler.types import DRAINING, STRAY, Instance, Intent, IntentState, Listing

_log = logging.getLogger(__name__)
# What offers are judged by: the latest launches of each GPU at a cloud.
_SAMPLE = 20
_READ_AGAIN_S = 2.0


class Launches:
    """The only writer of intents. All calls come from one event loop. `measures` is told of what changes."""

    def __init__(self, journal: Journal, clock: Callable[[], float], measures: Measures | None = None) -> None:
        self._journal, self.clock, self.measures = journal, clock, measures or Measures()
        self._live: dict[str, Intent] = {}
        self._history = History(clock)
        self._noted: dict[str, str] = {}
        self._troubled = False
        self.loaded = False
        self._reading, self._read_at = journal.read(), clock()
        self.load()

    def load(self, patience_s: float = 0.0) -> bool:
        """Take over what the ledger holds, once it can be read; whether that has been done.

        Until then nobody knows which machines are wanted: none is bought, and none is ended as unclaimed.
        """
        if self.loaded:
            return True
        wait([self._reading], patience_s)
        if not self._reading.done():
            return False
        if self._reading.exception() is None:
            past = self._reading.result()
            self._live = {intent.name: intent for intent in past.live} | self._live
            self._history.load(past)
            self.loaded = True
        elif self.clock() - self._read_at >= _READ_AGAIN_S:
            self._reading, self._read_at = self._journal.read(), self.clock()
        return self.loaded

    def trouble(self) -> str:
        """Why the ledger forbids to buy now, or ""."""
        if self.loaded:
            return self._journal.trouble()
        error = self._reading.exception() if self._reading.done() else None
        why = message_of(error).split("\n")[0] if isinstance(error, Exception) else "it has not answered yet"
        return f"the ledger cannot be read ({why}): nothing is bought, and no machine is ended as unclaimed"

    def unwritten(self) -> int:
        """How many changes and events wait in memory until the ledger takes them."""
        return self._journal.unwritten()

    def keep_written(self) -> None:
        """With every round: write again what could not be written, and say when the ledger fails and recovers."""
        self._journal.retry()
        why = self._journal.trouble()
        if why:
            self.note("ledger", why)
        elif self._troubled:
            self.forget_note("ledger")
            self.note("ledger", "it is written again", "recovered")
            self.forget_note("ledger", "recovered")
        self._troubled = bool(why)

    async def durable(self, timeout_s: float) -> None:
        """Return once all that was changed so far is on disk. Raises LedgerUnavailable, after `timeout_s` at most."""
        if not self.loaded:
            raise LedgerUnavailable(self.trouble())
        await self._journal.durable(timeout_s)

    def write_last(self) -> None:
        """Write what waits, for some seconds at most; nothing is written afterwards."""
        self._journal.close()

    def live(self) -> list[Intent]:
        """Every launch that exists or may exist."""
        return list(self._live.values())

    def get(self, name: str) -> Intent | None:
        """The launch, unless it is over or unknown."""
        return self._live.get(name)

    def last_ended(self, node_type: str) -> list[Intent]:
        """The launches of a node type that ended last, in the order of their end."""
        return self._history.last_ended(node_type)

    def newest(self) -> list[Intent]:
        """All that live and the newest that are over, oldest first: however old it is, what may be billed is shown."""
        known = {i.name: i for i in (*self._history.recent(), *self._live.values())}
        return sorted(known.values(), key=lambda intent: intent.wanted_at)

    def events(self) -> list[dict[str, Any]]:
        """The newest sentences, oldest of them first: at (unix seconds), name, sentence."""
        return self._history.events()

    def experiences(self, clouds: Iterable[str]) -> Experiences:
        """What the last launches of each GPU at these clouds were like, by (cloud, GPU)."""
        seen: dict[tuple[str, str | None], list[Intent]] = {}
        for cloud in clouds:
            for intent in self._bought_at_cloud(cloud):
                seen.setdefault((cloud, intent.gpu_name), []).append(intent)
        return {key: Experience.of(launches[:_SAMPLE]) for key, launches in seen.items()}

    def usual_boot_s(self, cloud: str) -> float | None:
        """The median of the cloud's last boots, from the purchase to the joined node; None without any."""
        joined = [intent for intent in self._bought_at_cloud(cloud) if intent.joined_at is not None]
        return Experience.of(joined[:_SAMPLE]).usual_boot_s

    def _bought_at_cloud(self, cloud: str) -> list[Intent]:
        """The newest first, unclaimed machines left out."""
        live = [i for i in self._live.values() if i.cloud == cloud and i.bought_at is not None and not i.stray]
        return sorted((*self._history.bought_at_cloud(cloud), *live), key=lambda i: i.wanted_at, reverse=True)

    def want(self, prefix: str, node_type: str, tags: Mapping[str, str], why: str, rival_of: str | None = None) -> str:
        """A new launch with a name that is unique for ever; returns the name."""
        name = launch_name(prefix, node_type, secrets.token_hex(4))
        intent = Intent(name, node_type, IntentState.WANTED, self.clock(), dict(tags), rival_of=rival_of)
        self._live[name] = intent
        self._write(name, why, intent)
        _log.info("%s", why, extra={"instance": name})
        return name

    def stray(self, instance: Instance, why: str) -> None:
        """Keep the bill of a machine that no launch claims, until it has ended. Said again, it changes nothing."""
        name = stray_name(instance.name, instance.instance_id)
        if name in self._live:
            return
        now = self.clock()
        since = now if instance.created_at is None else instance.created_at
        earlier, before = self._history.bill(instance.name), self._history.reopen(name)
        if earlier is not None and earlier.instance_id == instance.instance_id:
            since = max(since, earlier.ended_at)  # its launch is charged until then
        since = min(since, now) if before is None else before.bought_at  # a cloud's clock may be off
        intent = Intent(
            name,
            STRAY,
            IntentState.ENDING,
            since,
            cloud=instance.cloud,
            instance_id=instance.instance_id,
            machine_id=instance.machine_id,
            price_usd_per_hour=self._price_of(instance, earlier),
            bought_at=since,
            reason=why,
            ending_at=now,
        )
        sentence = f"ending {instance.instance_id} at {instance.cloud}: {why}"
        self._live[name] = intent
        self._write(name, sentence, intent)
        _log.warning("%s", sentence, extra={"instance": name, "cloud": instance.cloud})

    def _price_of(self, instance: Instance, earlier: Bill | None) -> float:
        """What nobody claims costs as its launch did and, where no price is told, as the dearest of its cloud."""
        told = dearest(instance.price_usd_per_hour, None if earlier is None else earlier.price_usd_per_hour)
        return told or dearest(*(counted_usd_per_hour(i) for i in self.live() if i.cloud == instance.cloud))

    def change(self, name: str, sentence: str, **values: Any) -> Intent:
        """Change a live launch to these `values`, and say why."""
        before = self._live[name]
        self._live[name] = changed = replace(before, **values)
        self._write(name, sentence, changed)
        tell(self.measures, before, changed)
        _log.info("%s", sentence, extra={"instance": name, "cloud": changed.cloud or "none"})
        return changed

    def listed(self, listings: Mapping[str, Listing | None]) -> None:
        """Write down what lists tell for the first time: that a launch is there, and a higher price than was known.

        A restart must not forget it, or the bill of what vanished shortly before would last until no list can lag.
        """
        for intent in self.live():
            listing = listings.get(intent.cloud or "")
            news = learned(intent, listing.instances, self.clock()) if listing and listing.news else {}
            if "price_usd_per_hour" in news:
                charged = f"{intent.cloud} charges {news['price_usd_per_hour']:.4g} USD/h for it"
                self.change(intent.name, charged, **news)
            elif news:
                self.change(intent.name, f"{intent.cloud} lists it", **news)

    def waits(self, name: str, reason: str) -> None:
        """Why this launch is not bought yet; written when the reason is another one."""
        if self._news(f"wait {name}", reason):
            self.change(name, f"waits: {reason}", reason=reason)
        else:
            self._live[name] = replace(self._live[name], reason=reason)

    def end(self, name: str, reason: str, broken: bool = False) -> bool:
        """It is not wanted any more; False when it is over or ending already."""
        intent = self._live.get(name)
        if intent is None or intent.state is IntentState.ENDING:
            return False
        ending = {"state": IntentState.ENDING, "ending_at": self.clock()}
        self.change(name, f"it is to end: {reason}", reason=reason, broken=broken, **ending)
        return True

    def drain(self, name: str, reason: str) -> None:
        """It takes no new work from now on."""
        phases = {**self._live[name].phases, DRAINING: self.clock()}
        self.change(name, f"it takes no new work: {reason}", phases=phases, reason=reason)

    def close(self, name: str, reason: str, at: float | None, failed: bool, broken: bool) -> None:
        """Nothing of it exists any more, since `at` (unix seconds; None: since now)."""
        now, intent = self.clock(), self._live[name]
        ended_at = now if at is None else min(at, now)
        sentence = f"gone: {reason}; it cost {intent.cost_usd(ended_at):.6f} USD for {intent.billed_s(ended_at):.1f} s"
        state = IntentState.FAILED if failed else IntentState.ENDED
        over = self.change(name, sentence, state=state, ended_at=ended_at, reason=reason, broken=broken)
        del self._live[name]
        self._history.add(over)
        self._noted.pop(f"wait {name}", None)
        self.measures.launch_ended(intent.cloud or "none", outcome(over))

    def note(self, subject: str, sentence: str, key: str = "") -> None:
        """Write a sentence about a cloud, a budget or a stray machine, unless it was the last one about it."""
        if self._news(f"note {subject} {key}", sentence):
            self._write(subject, sentence)
            _log.warning("%s: %s", subject, sentence)

    def forget_note(self, subject: str, key: str = "") -> bool:
        """The matter is over: said again, it is news. False when there was nothing."""
        return self._noted.pop(f"note {subject} {key}", None) is not None

    def spent_usd(self, since: float) -> dict[str, float]:
        """What everything has cost from `since` (unix seconds, this month) on, by cloud, in USD."""
        spent = dict(self._history.spent_usd(since))
        for cloud, usd in spent_by_live_usd(self._live.values(), since, self.clock()).items():
            spent[cloud] = spent.get(cloud, 0.0) + usd
        return spent

    def billed_s(self) -> dict[tuple[str, str], float]:
        """Seconds billed since the ledger began, by (cloud, node type): never less than before."""
        billed, now = dict(self._history.billed_s()), self.clock()
        for intent in self._live.values():
            if intent.cloud is not None and intent.bought_at is not None:
                key = (intent.cloud, intent.node_type)
                billed[key] = billed.get(key, 0.0) + intent.billed_s(now)
        return billed

    def _write(self, subject: str, sentence: str, intent: Intent | None = None) -> None:
        event = Event(self.clock(), printable(subject)[:NAME_CHARACTERS], printable(sentence))
        self._history.say(event)
        self._journal.add(event, intent)

    def _news(self, key: str, sentence: str) -> bool:
        """Numbers that count on are no news."""
        gist = re.sub(r"[\d.]+", "#", sentence)
        if self._noted.get(key) == gist:
            return False
        self._noted[key] = gist
        return True
