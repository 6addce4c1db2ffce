"""Who becomes a node: once per token, with one key, for as long as the launch is wanted."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autoscaler.types import Intent, IntentState
from cluster.orchestrator.enrolment import Admission
from cluster.orchestrator.join_tokens import TOKEN_LIFETIME_S, Joins, Refused
from cluster.overlay.addresses import NodeAddress, node_address
from cluster.overlay.control import Enrolment

KEY, OTHER_KEY = Enrolment("ssh-ed25519 own", "m1"), Enrolment("ssh-ed25519 thief", "m2")
HEAD = node_address(0)


class Launches:
    """Launches that are wanted, and what was told of them."""

    def __init__(self, *names: str) -> None:
        self.wanted = {name: Intent(name, "gpu", IntentState.BOUGHT, 0.0) for name in names}
        self.events: list[tuple[str, str]] = []
        self.steps: list[tuple[str, str, str, float]] = []

    def launch(self, name: str) -> Intent | None:
        intent = self.wanted.get(name)
        return None if intent is None or intent.state is IntentState.ENDING else intent

    def live_names(self) -> set[str]:
        return set(self.wanted)

    def note(self, name: str, sentence: str) -> None:
        self.events.append((name, sentence))

    def reached(self, name: str, phase: str, detail: str, ago_s: float) -> None:
        self.steps.append((name, phase, detail, ago_s))


class Door:
    """Admission with a clock that is turned by hand, and without a hub."""

    def __init__(self, directory: Path, launches: Launches) -> None:
        self.now, self.launches = 1000.0, launches
        self.open: dict[str, NodeAddress] = {}
        self.joins = Joins(lambda: self.now, directory / "pending.json")
        self.admission = Admission(
            directory / "nodes.json", self.joins, HEAD, launches, self._grant, lambda _a: True, lambda: self.now
        )
        self.admission.admit, self.admission.forget = self._admit, lambda name: self.open.pop(name, None)  # type: ignore[assignment]

    def _grant(self, _name: str, address: NodeAddress) -> Mapping[str, Any]:
        return {"host": address.host}

    async def _admit(self, name: str, address: NodeAddress, _machine: str) -> None:
        self.open[name] = address

    def enrol(self, name: str, token: str | None, enrolment: Enrolment = KEY) -> Mapping[str, Any]:
        return asyncio.run(self.admission.enrol(name, token, enrolment))


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(tmp_path, Launches("a", "b"))


def test_a_token_enrols_one_key_and_the_key_comes_back_for_the_same_grant(door: Door) -> None:
    token = door.joins.issue("a")
    assert door.admission.expects("a", token)
    grant = door.enrol("a", token)
    assert not door.admission.expects("a", token)
    assert door.admission.knows("a", KEY.public_key)
    assert door.enrol("a", None) == grant


def test_a_stolen_token_that_was_used_is_refused_and_reported(door: Door) -> None:
    token = door.joins.issue("a")
    door.enrol("a", token)
    with pytest.raises(Refused):
        door.enrol("a", token, OTHER_KEY)
    assert not door.admission.knows("a", OTHER_KEY.public_key)
    assert [name for name, _ in door.launches.events] == ["a"]


def test_a_token_is_no_good_for_another_launch_too_late_or_after_the_launch(door: Door) -> None:
    token = door.joins.issue("a")
    assert not door.admission.expects("b", token)
    door.launches.wanted["a"] = replace(door.launches.wanted["a"], state=IntentState.ENDING)
    assert not door.admission.expects("a", token)
    late = door.joins.issue("b")
    door.now += TOKEN_LIFETIME_S + 1
    assert not door.admission.expects("b", late)


def test_a_launch_that_is_over_is_forgotten_with_its_key(door: Door) -> None:
    door.enrol("a", door.joins.issue("a"))
    del door.launches.wanted["a"]
    assert not door.admission.knows("a", KEY.public_key)
    door.admission.retire(door.launches.live_names())
    assert door.admission.members() == []
    assert door.open == {}


def test_a_restart_knows_nodes_addresses_and_tokens_but_stores_no_secret(tmp_path: Path, door: Door) -> None:
    used, unused = door.joins.issue("a"), door.joins.issue("b")
    door.enrol("a", used)
    again = Door(tmp_path, door.launches)
    assert again.admission.members() == door.admission.members()
    assert again.admission.knows("a", KEY.public_key)
    assert again.admission.expects("b", unused)
    assert not again.admission.expects("a", used)
    stored = "".join(path.read_text() for path in tmp_path.iterdir())
    assert used not in stored
    assert unused not in stored
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.iterdir())


def test_only_known_phases_are_believed(door: Door) -> None:
    door.admission.reported("a", {"phase": "image up", "ago_s": 1.5})
    for report in (
        {"phase": "rich"},
        {},
        {"phase": ["joined"]},
        {"phase": "joined", "ago_s": "x"},
        {"phase": "joined", "ago_s": -5},
    ):
        door.admission.reported("a", report)
    assert door.launches.steps == [("a", "image up", "", 1.5)]


def test_a_hammering_stranger_makes_one_event_a_minute(door: Door) -> None:
    for attempt in range(500):
        door.admission.refused(f"stranger-{attempt}", "its join token is wrong, used or expired")
    assert len(door.launches.events) == 1
    door.now += 61
    door.admission.refused("stranger", "again")
    assert len(door.launches.events) == 2


def test_a_node_that_is_refused_again_and_again_with_other_words_makes_few_events(door: Door) -> None:
    for attempt in range(20_000):
        door.admission.refused("a", f"it may not connect to {attempt}.example.org\nforged line:22")
    assert 1 <= len(door.launches.events) <= 20
    assert all(sentence.isprintable() for _, sentence in door.launches.events)


@pytest.mark.parametrize("detail", ["x" * 100_000, "one\ntwo\x1b[2J", {"a": 1}, ["x"] * 1000, 7, None])
def test_what_a_node_reports_is_one_short_line(door: Door, detail: object) -> None:
    door.admission.reported("a", {"phase": "unfit", "detail": detail})
    ((_, _, said, _),) = door.launches.steps
    assert len(said.encode()) <= 300
    assert not said or said.isprintable()
