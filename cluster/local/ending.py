"""The proof that nothing of this machine's cluster is billed any more: from its orchestrator, else from the clouds.

"0 instances" needs good lists of every cloud at which the ledger ever bought. A dead, hung or failing orchestrator, a
lost card, broken settings or a silent cloud change who asks, and never what is proved.
"""

import time
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from pathlib import Path

import httpx

from cluster.config.loader import ConfigError, load_settings
from cluster.config.schema import RENTED, Settings
from cluster.config.state_directory import ClusterCard, StateDir
from cluster.local.stopping import ClusterError
from cluster.orchestrator.cloud_factory import LOCAL, cloud_names, policy, reachable
from cluster.orchestrator.ledger_file import LedgerFacts, OpenEntry, close_entries
from cluster.orchestrator.sweep import Swept, sweep_once

_ANSWER_TIMEOUT_S = 10.0
_DRAIN_TIMEOUT_S = 75.0
Say = Callable[[str], None]


class StillBilled(ClusterError):
    """It is not proved that nothing is billed; the message names what may be, and the way out."""


@dataclass(frozen=True)
class Drained:
    """What the orchestrator has proved. `answers`: whether it is there at all, and can go on trying."""

    clouds: frozenset[str]
    answers: bool


@dataclass(frozen=True)
class Access:
    """What opens clouds: the settings, the variables and the home directory that hold keys."""

    settings: Settings | None
    environment: Mapping[str, str]
    home: Path


def drain(state: StateDir, card: ClusterCard | None, say: Say) -> Drained:
    """Let the orchestrator end every machine. What it does not prove is nobody's proof yet."""
    if card is None:
        return Drained(frozenset(), answers=False)
    answers = False
    try:
        headers = {"Authorization": f"Bearer {state.token('nodes')}"}
        with httpx.Client(base_url=card.orchestrator_url, headers=headers, timeout=_ANSWER_TIMEOUT_S) as http:
            http.get("/v1/fleet").raise_for_status()
            reply = http.post("/v1/drain", timeout=_DRAIN_TIMEOUT_S)
            answers = True
            proved = reply.raise_for_status().json()["proved"]
        return Drained(frozenset(proved), answers=True)
    except (httpx.HTTPError, OSError, ValueError, KeyError, TypeError) as error:
        say(f"the orchestrator cannot prove the end ({error}): the clouds themselves are asked")
        return Drained(frozenset(), answers)


def told_settings(state: StateDir, settings: Settings | None) -> list[Settings]:
    """What the cluster was told when it started, and what the settings say today, as far as they can be read."""
    try:
        started_with = [load_settings(path, {})] if (path := state.path / "settings.yaml").exists() else []
    except ConfigError:
        started_with = []
    return started_with + ([settings] if settings else [])


def to_ask(told: list[Settings], facts: LedgerFacts, drained: Set[str], checked_by_hand: Set[str]) -> set[str]:
    """The clouds beyond this machine whose good lists are missing. An unreadable ledger may have bought anywhere."""
    names = set(facts.clouds) | (set(RENTED) if facts.unreadable else set())
    if not drained:
        names |= {name for settings in told for name in cloud_names(settings)}
    return names - drained - checked_by_hand - {LOCAL}


def end_by_clouds(
    names: Set[str],
    cluster_id: str,
    told: list[Settings],
    access: Access,
    facts: LedgerFacts,
    timeout_s: float,
    say: Say,
) -> dict[str, Swept]:
    """Ask these clouds for the end of everything, and for lists that prove it."""
    settings = told[-1] if told else Settings()
    clouds = reachable(sorted(names), settings, cluster_id, access.environment, access.home, time.time, facts.open)
    say(f"asking {', '.join(clouds)} for the end of everything that is {cluster_id}'s")
    settled_in_s = {name: _settled_in_s(name, settings, facts) for name in clouds}
    return sweep_once(clouds, timeout_s, say, facts.open, settled_in_s)


def _settled_in_s(cloud: str, settings: Settings, facts: LedgerFacts) -> float:
    """For how long a list may still lag behind the last purchase that the ledger knows."""
    lag_s, now = policy(settings).lag_s(cloud), time.time()
    asked_at = max((entry.asked_at for entry in facts.open if entry.cloud == cloud), default=0.0)
    return min(max(asked_at + lag_s - now, 0.0), lag_s)


def still_billed(cluster_id: str, swept: Mapping[str, Swept], orchestrator_answers: bool) -> StillBilled | None:
    """What to tell when not every list was good and empty."""
    missing = {name: cloud for name, cloud in swept.items() if not cloud.done}
    if not missing:
        return None
    lines = [f"NOT at zero: it is not proved that nothing of {cluster_id} is billed."]
    for name, cloud in missing.items():
        lines.append(f"  {name}: {cloud.unknown or 'machines are still listed, or were until just now'}")
        lines += [f"    may still be billed: {entry}" for entry in cloud.may_bill.values()]
    if orchestrator_answers:
        lines.append("The orchestrator runs on, buys nothing, and goes on trying.")
    flags = " ".join(f"--checked-by-hand {name}" for name in missing)
    lines.append(
        "The cluster's id and card stay. Mend what is named above and run `aima down` again; or end the machines in"
        f" the cloud's console, and say that you have looked: `aima down {flags}`."
    )
    return StillBilled("\n".join(lines))


def write_off(state: StateDir, clouds: Set[str], facts: LedgerFacts, say: Say) -> None:
    """Close in the ledger what is proved to be gone."""
    if not facts.unreadable and (trouble := close_entries(state.ledger_path, clouds, _REASON, time.time)):
        say(f"what has ended is not written down, which changes no bill: {trouble}")


_REASON = "ended by `aima down`, and a good list of its cloud omits it"


def told_of(entries: tuple[OpenEntry, ...]) -> str:
    """Machines that an earlier run has left, in a sentence."""
    return f"{len(entries)} machines of an earlier run are taken over or ended: {', '.join(map(str, entries))}"
