"""All launches that are not over, in memory for every read, each change written to the ledger first."""

import logging
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from autoscaler.decisions.budget import counted_usd_per_hour, dearest
from autoscaler.decisions.promises import learned
from autoscaler.fleet.ledger import Ledger, spent_by_live_usd
from autoscaler.fleet.measures import Measures, outcome, tell
from autoscaler.names import launch_name, stray_name
from autoscaler.types import DRAINING, STRAY, Instance, Intent, IntentState, Listing

_log = logging.getLogger(__name__)
_HISTORY = 20


class Launches:
    """The only writer of intents. All calls come from one event loop. `measures` is told of what changes."""

    def __init__(self, ledger: Ledger, clock: Callable[[], float], measures: Measures | None = None) -> None:
        self._ledger, self._clock, self.measures = ledger, clock, measures or Measures()
        self._live = {intent.name: intent for intent in ledger.live()}
        self._over: dict[str, list[Intent]] = {}
        self._noted: dict[str, str] = {}
        self._spent: dict[float, dict[str, float]] = {}
        self._billed: dict[tuple[str, str], float] | None = None

    def live(self) -> list[Intent]:
        """Every launch that exists or may exist."""
        return list(self._live.values())

    def get(self, name: str) -> Intent | None:
        """The launch, unless it is over or unknown."""
        return self._live.get(name)

    def last_ended(self, node_type: str) -> list[Intent]:
        """The launches of a node type that ended last, in the order of their end."""
        if node_type not in self._over:
            self._over[node_type] = self._ledger.last_ended(node_type, _HISTORY)
        return self._over[node_type]

    def want(self, prefix: str, node_type: str, tags: Mapping[str, str], why: str, rival_of: str | None = None) -> str:
        """Write down a new launch with a name that is unique for ever; returns the name."""
        name = launch_name(prefix, node_type, secrets.token_hex(4))
        self._live[name] = self._ledger.want(name, node_type, tags, why, rival_of)
        _log.info("%s", why, extra={"instance": name})
        return name

    def stray(self, instance: Instance, why: str) -> None:
        """Keep the bill of a machine that no launch claims, until it has ended. Said again, it changes nothing."""
        name = stray_name(instance.name, instance.instance_id)
        if name in self._live:
            return
        now = self._clock()
        since = now if instance.created_at is None else instance.created_at
        earlier = self._ledger.find(instance.name)
        if earlier is not None and earlier.instance_id == instance.instance_id and earlier.bought_at is not None:
            since = max(since, earlier.ended_at or since)  # its launch is charged until then
        since = min(since, now)  # a cloud's clock may be off
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
        self._live[name] = self._ledger.keep(intent, sentence)
        self._spent.clear()
        self._billed = None
        _log.warning("%s", sentence, extra={"instance": name, "cloud": instance.cloud})

    def _price_of(self, instance: Instance, earlier: Intent | None) -> float:
        """What nobody claims costs as its launch did and, where no price is told, as the dearest of its cloud."""
        told = instance.price_usd_per_hour if earlier is None else counted_usd_per_hour(earlier, instance)
        return dearest(told) or dearest(*(counted_usd_per_hour(i) for i in self.live() if i.cloud == instance.cloud))

    def change(self, name: str, sentence: str, **values: Any) -> Intent:
        """Write a live launch with other `values`, and why."""
        before = self._live[name]
        self._live[name] = changed = self._ledger.change(before, sentence, **values)
        tell(self.measures, before, changed)
        _log.info("%s", sentence, extra={"instance": name, "cloud": changed.cloud or "none"})
        return changed

    def listed(self, listings: Mapping[str, Listing | None]) -> None:
        """Write down what lists tell for the first time: that a launch is there, and a higher price than was known.

        A restart must not forget it, or the bill of what vanished shortly before would last until no list can lag.
        """
        for intent in self.live():
            listing = listings.get(intent.cloud or "")
            news = learned(intent, listing.instances, self._clock()) if listing and listing.news else {}
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
        ending = {"state": IntentState.ENDING, "ending_at": self._clock()}
        self.change(name, f"it is to end: {reason}", reason=reason, broken=broken, **ending)
        return True

    def drain(self, name: str, reason: str) -> None:
        """It takes no new work from now on."""
        phases = {**self._live[name].phases, DRAINING: self._clock()}
        self.change(name, f"it takes no new work: {reason}", phases=phases, reason=reason)

    def close(self, name: str, reason: str, at: float | None, failed: bool, broken: bool) -> None:
        """Nothing of it exists any more, since `at` (unix seconds; None: since now)."""
        now, intent = self._clock(), self._live[name]
        ended_at = now if at is None else min(at, now)
        sentence = f"gone: {reason}; it cost {intent.cost_usd(ended_at):.6f} USD for {intent.billed_s(ended_at):.1f} s"
        state = IntentState.FAILED if failed else IntentState.ENDED
        over = self.last_ended(intent.node_type)
        over.append(self.change(name, sentence, state=state, ended_at=ended_at, reason=reason, broken=broken))
        del over[:-_HISTORY], self._live[name]
        self._noted.pop(f"wait {name}", None)
        self._spent.clear()
        self._billed = None
        self.measures.launch_ended(intent.cloud or "none", outcome(over[-1]))

    def note(self, subject: str, sentence: str, key: str = "") -> None:
        """Write a sentence about a cloud, a budget or a stray machine, unless it was the last one about it."""
        if self._news(f"note {subject} {key}", sentence):
            self._ledger.note(subject, sentence)
            _log.warning("%s: %s", subject, sentence)

    def forget_note(self, subject: str, key: str = "") -> bool:
        """The matter is over: said again, it is news. False when there was nothing."""
        return self._noted.pop(f"note {subject} {key}", None) is not None

    def spent_usd(self, since: float) -> dict[str, float]:
        """What everything has cost from `since` (unix seconds) on, by cloud, in USD."""
        if since not in self._spent:
            self._spent[since] = self._ledger.spent_usd(since)
        spent = dict(self._spent[since])
        for cloud, usd in spent_by_live_usd(self._live.values(), since, self._clock()).items():
            spent[cloud] = spent.get(cloud, 0.0) + usd
        return spent

    def billed_s(self) -> dict[tuple[str, str], float]:
        """Seconds billed since the ledger began, by (cloud, node type): never less than before."""
        if self._billed is None:
            self._billed = self._ledger.billed_s()
        billed, now = dict(self._billed), self._clock()
        for intent in self._live.values():
            if intent.cloud is not None and intent.bought_at is not None:
                key = (intent.cloud, intent.node_type)
                billed[key] = billed.get(key, 0.0) + intent.billed_s(now)
        return billed

    def _news(self, key: str, sentence: str) -> bool:
        """Numbers that count on are no news."""
        gist = re.sub(r"[\d.]+", "#", sentence)
        if self._noted.get(key) == gist:
            return False
        self._noted[key] = gist
        return True
