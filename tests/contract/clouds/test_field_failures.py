"""Every failure that clouds have shown in the field: the real reconciler and provider against the fake server.

The tests are named after the rows of autoscaler/FAILURES.md.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from autoscaler.decisions.budget import Spending
from autoscaler.decisions.decide import Policy
from autoscaler.fakes.faults import Answer, Fault
from autoscaler.fleet.launches import Launches
from autoscaler.fleet.reconciler import Reconciler
from autoscaler.fleet.spec import Pace, Rules, Spec
from autoscaler.records.journal import Journal
from autoscaler.records.ledger import Ledger
from autoscaler.types import Activity, Equipment, Intent, IntentState, NodeType, Trust
from cluster.storage.database import open_engine
from tests.support.clouds.providers import CLUSTER, RENTED, Rented, rented

# Ray says nothing of its nodes here.
POLICY = Policy(list_lag_s=10.0, join_timeout_s=600.0, cool_down_s=60.0, silent_limit_s=float("inf"))
EQUIPMENT = Equipment(
    {"AIMA_JOIN_TOKEN": "one-time"}, "aima/worker:1", ("python", "-m", "cluster.worker.local_entrypoint")
)
PURCHASE = {"runpod": ("POST", "/v2/pods"), "vastai": ("PUT", "/api/v0/asks/5000001/")}


@dataclass
class World:
    """A cluster whose time stands still unless a tick is made."""

    cloud: Rented
    ledger: Ledger
    node_type: NodeType
    reconciler: Reconciler
    calls: "itertools.count[int]"

    def restart(self) -> None:
        """A new process on the same ledger."""
        self.reconciler = reconciler(self.cloud, self.ledger, self.node_type)

    def tick(self, times: int = 1) -> None:
        """Rounds of a second each, every one with all that it has started."""
        for _ in range(times):
            self.cloud.run(self.reconciler.tick())
            self.cloud.clock.now += 1.0

    def launch(self) -> str:
        (name,) = self.reconciler.demand.launch("gpu", 1, {"ray": "tag"}, f"call-{next(self.calls)}")
        return name

    def joined(self) -> str:
        """A launch whose machine has become a Ray node."""
        name = self.launch()
        self.tick(3)
        self.reconciler.reports.joined(name)
        return name

    def intent(self, name: str) -> Intent:
        return next(intent for intent in self.ledger.recent() if intent.name == name)

    def state(self, name: str) -> IntentState:
        return self.intent(name).state

    def billing(self) -> list[str]:
        """The names of the machines that the cloud bills now."""
        return [machine.name for machine in self.cloud.account.alive()]

    def degraded(self) -> str:
        return str(self.reconciler.fleet()["degraded"].get(self.cloud.provider.name, ""))

    def said(self) -> str:
        return "\n".join(event["sentence"] for event in self.ledger.recent_events(200))

    def spending(self) -> Spending:
        return self.reconciler.spendings()[self.cloud.provider.name]

    def creations(self) -> int:
        return self.cloud.calls("create")


def reconciler(cloud: Rented, ledger: Ledger, node_type: NodeType) -> Reconciler:
    providers = {cloud.provider.name: cloud.provider}
    pace = Pace({}, patience_s=10.0, call_timeout_s=4.0, purchase_timeout_s=4.0, offers_fresh_s=1.0)
    spec = Spec(CLUSTER, [node_type], lambda *_: EQUIPMENT)
    launches = Launches(Journal(ledger, cloud.clock), cloud.clock)
    return Reconciler(spec, providers, launches, Rules(POLICY, pace=pace))


def made(name: str, folder: Path, **behaviour: Any) -> Iterator[World]:
    engine = open_engine("sqlite://")
    with asyncio.Runner() as runner, rented(name, folder, runner, **behaviour) as cloud:
        node_type = NodeType("gpu", {"GPU": 1}, max_count=4, clouds=(name,), gpu_memory_gib=24)
        ledger = Ledger(engine, cloud.clock)
        ledger.create_tables()
        yield World(cloud, ledger, node_type, reconciler(cloud, ledger, node_type), itertools.count())
    engine.dispose()


@pytest.fixture(params=RENTED)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    yield from made(request.param, tmp_path)


@pytest.fixture
def runpod(tmp_path: Path) -> Iterator[World]:
    yield from made("runpod", tmp_path)


@pytest.fixture
def vastai(tmp_path: Path) -> Iterator[World]:
    yield from made("vastai", tmp_path)


def test_f01_no_capacity_leads_to_the_next_offer(runpod: World) -> None:
    runpod.cloud.fail("F1")
    name = runpod.launch()
    runpod.tick(2)
    assert runpod.billing() == [name]
    assert runpod.creations() == 2
    assert "no longer any instances available" in runpod.said()


def test_f01_without_any_capacity_it_waits_with_the_reason_and_without_a_loop(runpod: World) -> None:
    for _ in range(500):
        runpod.cloud.fail("F1")
    name = runpod.launch()
    runpod.tick(60)
    assert runpod.state(name) is IntentState.WANTED
    assert "runpod had none" in runpod.intent(name).reason
    assert "no longer any instances available" in runpod.said()
    assert runpod.billing() == []
    assert runpod.creations() <= 8  # each of the eight offers once; then they rest


def test_f03_the_count_of_gpus_is_always_sent(runpod: World) -> None:
    for number in (1, 2):
        runpod.cloud.create(runpod.cloud.name(number), replace(runpod.node_type, resources={"GPU": number}))
    counts = [machine.request["gpu"]["count"] for machine in runpod.cloud.account.alive()]
    assert counts == [1, 2]
    without = {"name": "a", "image": "b", "gpu": {"id": "NVIDIA L4"}}
    reply = ask(runpod, "POST", "/v2/pods", without)
    assert (reply.status_code, "instances available" in reply.text) == (400, True)


@pytest.mark.parametrize("failure", ["F4", "F5", "F5-unreadable"])
def test_f04_f05_a_purchase_without_a_clear_answer_is_found_by_its_name(world: World, failure: str) -> None:
    world.cloud.fail(failure)
    name = world.launch()
    world.tick(30)
    assert world.billing() == [name]
    assert world.creations() == 1
    assert world.state(name) is IntentState.BOUGHT
    assert "found by its name" in world.said()


def test_f05_nothing_is_bought_again_before_a_good_list(world: World) -> None:
    world.cloud.fail("F5")
    name = world.launch()
    world.tick(1)
    world.cloud.account.faults.add(Fault(on="list", times=60, answer=Answer(status=200, body="{}")))
    world.tick(30)
    assert (world.creations(), world.state(name)) == (1, IntentState.BUYING)
    world.cloud.account.faults.clear()
    world.tick(30)
    assert (world.creations(), world.state(name)) == (1, IntentState.BOUGHT)


def test_f05_a_purchase_that_does_not_answer_in_time_is_found_by_its_name(runpod: World) -> None:
    runpod.cloud.fail("F5-timeout")
    name = runpod.launch()
    runpod.tick(3)
    assert (runpod.creations(), runpod.billing(), runpod.state(name)) == (1, [name], IntentState.BOUGHT)


def test_f06_what_is_listed_late_is_neither_lost_nor_bought_again(world: World) -> None:
    world.cloud.fail("F6")
    name = world.launch()
    world.tick(30)
    assert (world.creations(), world.billing(), world.state(name)) == (1, [name], IntentState.BOUGHT)


def test_f07_what_never_appears_is_ended_by_its_id_and_counts_as_a_failure(world: World) -> None:
    world.cloud.fail("F7")
    name = world.launch()
    world.tick(8)
    assert world.billing() == [name]
    world.tick(20)
    assert world.billing() == []
    assert world.state(name) is IntentState.ENDED
    assert world.intent(name).broken


@pytest.mark.parametrize("failure", ["F8", "F8-no-runtime"])
def test_f08_what_never_becomes_ready_is_ended_at_the_deadline(runpod: World, failure: str) -> None:
    runpod.cloud.fail(failure)
    name = runpod.launch()
    runpod.tick(2)
    taken = runpod.intent(name).offer_id
    runpod.cloud.clock.now += 590.0
    runpod.tick(1)
    assert runpod.billing() == [name]
    runpod.cloud.clock.now += 20.0
    runpod.tick(3)
    assert runpod.billing() == []
    assert runpod.state(name) is IntentState.ENDED
    assert "did not join within 600 s; the cloud says: RunPod calls it" in runpod.intent(name).reason
    assert f"offer runpod {taken}" in {hold["what"] for hold in runpod.reconciler.fleet()["holds"]}


def test_f09_what_vanishes_is_dropped_and_its_account_is_closed(world: World) -> None:
    name = world.joined()
    world.tick(20)
    world.cloud.fail("F9")
    world.tick(2)
    assert world.reconciler.demand.nodes() == []
    intent = world.intent(name)
    assert intent.state is IntentState.ENDED
    assert intent.ended_at is not None
    assert "vanished" in intent.reason
    again = world.launch()
    world.tick(2)
    assert world.billing() == [again]


def test_f10_what_does_not_end_counts_as_billed_until_a_good_list_omits_it(world: World) -> None:
    name = world.joined()
    for _ in range(4):
        world.cloud.fail("F10")
    world.reconciler.demand.terminate([name], "no work")
    world.tick(2)
    assert world.state(name) is IntentState.ENDING
    assert world.billing() == [name]
    assert world.spending().burn_usd_per_hour > 0
    assert "does not end" in world.degraded()
    world.tick(30)
    assert world.state(name) is IntentState.ENDED
    assert world.billing() == []
    assert world.spending().burn_usd_per_hour == 0
    assert world.intent(name).billed_s(world.cloud.clock()) == pytest.approx(
        world.cloud.account.bill()["machines"][world.intent(name).instance_id]["billed_s"], abs=15
    )


def test_f11_a_conflict_while_provisioning_is_tried_again_until_it_is_gone(runpod: World) -> None:
    runpod.cloud.account.behave({"provision_s": 30.0})
    runpod.cloud.fail("F11")
    name = runpod.launch()
    runpod.tick(2)
    runpod.reconciler.demand.terminate([name], "no work")
    runpod.tick(5)
    assert runpod.billing() == [name]
    assert "409" in runpod.degraded()
    runpod.tick(40)
    assert runpod.billing() == []
    assert runpod.state(name) is IntentState.ENDED


def test_f13_a_head_killed_between_purchase_and_record_finds_its_machine(world: World) -> None:
    world.cloud.fail("F5")
    name = world.launch()
    world.tick(1)
    assert world.state(name) is IntentState.BUYING
    world.restart()
    world.tick(2)
    assert (world.creations(), world.billing(), world.state(name)) == (1, [name], IntentState.BOUGHT)


LISTS = ["F14-500", "F14-401", "F14-empty", "F14-null", "F14-page", "F27", "F27-html", "F28"]


@pytest.mark.parametrize("failure", LISTS)
def test_f14_f27_f28_without_a_good_list_nothing_is_bought_dropped_or_swept(world: World, failure: str) -> None:
    if failure not in world.cloud.failures:
        failure = "F27"  # Vast's way to refuse a key
    name = world.joined()
    stray = world.cloud.name(7)
    world.cloud.create(stray, world.node_type)
    wanted = world.launch()
    before = world.creations()
    for _ in range(40):
        world.cloud.fail(failure)
    world.tick(20)
    assert (world.creations(), world.cloud.calls("terminate")) == (before, 0)
    assert sorted(world.billing()) == sorted([name, stray])
    assert world.state(name) is IntentState.BOUGHT
    assert world.state(wanted) is IntentState.WANTED
    assert world.degraded()
    assert ("not even none" in world.degraded()) == (failure in ("F14-empty", "F14-null"))
    world.cloud.account.faults.clear()
    world.cloud.clock.now += 60.0
    world.tick(20)
    assert sorted(world.billing()) == sorted([name, wanted])


def test_f17_an_image_that_cannot_be_pulled_is_told_in_the_clouds_own_words(world: World) -> None:
    world.cloud.fail("F17")
    name = world.launch()
    world.tick(2)
    world.cloud.clock.now += 610.0
    world.tick(3)
    assert world.state(name) is IntentState.ENDED
    assert "toomanyrequests" in world.intent(name).reason
    assert world.billing() == []


def test_f23_what_went_wrong_once_is_not_worth_a_word(runpod: World) -> None:
    runpod.cloud.fail("F23")
    runpod.tick(1)
    assert runpod.cloud.calls("list") == 3
    assert runpod.degraded() == ""


def test_f25_the_longest_of_all_windows_is_waited_out_without_a_call(runpod: World) -> None:
    name = runpod.joined()
    runpod.cloud.fail("F25")
    asked = runpod.cloud.calls("list")
    wanted = runpod.launch()
    runpod.tick(60)
    assert runpod.cloud.calls("list") == asked + 1
    assert runpod.state(wanted) is IntentState.WANTED
    assert "429" in runpod.degraded()
    assert "1812 s" in runpod.degraded()
    runpod.cloud.clock.now += 1812.0
    runpod.reconciler.activities.observe({name: Activity(True)})
    runpod.tick(3)
    assert runpod.degraded() == ""
    assert sorted(runpod.billing()) == sorted([name, wanted])


def test_f26_without_balance_nothing_is_bought_and_the_reason_is_shown(world: World) -> None:
    name = world.joined()
    world.tick(20)
    world.cloud.fail("F26")
    wanted = world.launch()
    world.tick(30)
    assert world.billing() == []
    assert world.state(name) is IntentState.ENDED
    assert world.state(wanted) is IntentState.WANTED
    assert world.creations() == 2  # the one that was refused, and no other
    for told in (world.degraded(), world.intent(wanted).reason):
        assert "balance" in told.lower() or "credit" in told.lower()
    world.cloud.account.behave({"balance_usd": 100.0})
    world.cloud.clock.now += 300.0  # it is tried again now and then
    world.tick(5)
    assert world.billing() == [wanted]


@dataclass
class Pair:
    """Two clouds of one cluster; RunPod sells what is asked for cheaper than Vast does."""

    runpod: Rented
    vastai: Rented
    reconciler: Reconciler

    def tick(self, times: int = 1) -> None:
        for _ in range(times):
            self.runpod.run(self.reconciler.tick())
            self.runpod.clock.now += 1.0
            self.vastai.clock.now += 1.0

    def billing(self) -> dict[str, list[str]]:
        return {
            cloud.provider.name: [machine.name for machine in cloud.account.alive()]
            for cloud in (self.runpod, self.vastai)
        }


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    engine = open_engine("sqlite://")
    with asyncio.Runner() as runner, contextlib.ExitStack() as stack:
        runpod, vastai = (stack.enter_context(rented(name, tmp_path, runner)) for name in ("runpod", "vastai"))
        ledger = Ledger(engine, vastai.clock)
        ledger.create_tables()
        need = NodeType("gpu", {"GPU": 1}, max_count=4, clouds=("runpod", "vastai"), trust=Trust.SECURE)
        clouds = {"runpod": runpod.provider, "vastai": vastai.provider}
        pace = Pace({}, patience_s=0.5, call_timeout_s=1.0)
        launches = Launches(Journal(ledger, vastai.clock), vastai.clock)
        spec = Spec(CLUSTER, [need], lambda *_: EQUIPMENT)
        yield Pair(runpod, vastai, Reconciler(spec, clouds, launches, Rules(POLICY, pace=pace)))
    engine.dispose()


def test_f25_f26_f27_f28_two_healthy_clouds_compete(pair: Pair) -> None:
    (name,) = pair.reconciler.demand.launch("gpu", 1, {}, "call")
    pair.tick(3)
    assert pair.billing() == {"runpod": [name], "vastai": []}


@pytest.mark.parametrize("failure", ["F25", "F26-create", "F27", "F28", "never answers"])
def test_f25_f26_f27_f28_one_cloud_in_trouble_leaves_the_other_working(pair: Pair, failure: str) -> None:
    if failure == "never answers":
        pair.runpod.account.faults.add(Fault(on="list", hang_s=60.0, times=99))
    else:
        pair.runpod.fail(failure)
    (name,) = pair.reconciler.demand.launch("gpu", 1, {}, "call")
    pair.tick(3)
    assert pair.billing() == {"runpod": [], "vastai": [name]}
    assert "runpod" in pair.reconciler.fleet()["degraded"]
    pair.reconciler.demand.terminate([name], "no work")
    pair.tick(2)
    assert pair.billing() == {"runpod": [], "vastai": []}


@pytest.mark.parametrize("failure", ["F27", "F27-html"])
def test_f27_a_refused_key_is_loud(world: World, failure: str) -> None:
    world.cloud.fail(failure)
    world.launch()
    world.tick(2)
    assert "STOPPED" in world.degraded()
    assert world.creations() == 0


def test_f28_a_retired_api_is_named(world: World) -> None:
    world.cloud.fail("F28")
    world.launch()
    world.tick(2)
    assert "STOPPED" in world.degraded()
    assert f"{world.cloud.provider.name} has retired this API ({world.cloud.url}" in world.degraded()


@pytest.mark.parametrize(
    "name",
    ["", CLUSTER, f"{CLUSTER}-gpu", f"{CLUSTER}-backup-01234567x", "aima-c10-gpu-01234567", "my-aima-c1-gpu-01234567"],
)
def test_f31_machines_with_similar_names_are_never_touched(world: World, name: str) -> None:
    if name or world.cloud.provider.name == "vastai":
        world.cloud.create(name, world.node_type)
    own = world.joined()
    world.reconciler.demand.terminate([own], "no work")
    world.tick(20)
    assert world.state(own) is IntentState.ENDED
    assert own not in world.billing()
    assert len(world.billing()) == (1 if name or world.cloud.provider.name == "vastai" else 0)


def test_f32_a_price_above_the_accepted_one_ends_the_machine_at_once(world: World) -> None:
    world.cloud.fail("F32")
    name = world.launch()
    world.tick(4)
    assert world.billing() == []
    world.tick(12)
    assert world.state(name) is IntentState.ENDED
    assert "accepted were" in world.intent(name).reason


def test_f34_where_a_machine_may_not_end_itself_the_sweep_ends_it(world: World) -> None:
    stray = world.cloud.create(world.cloud.name(9), world.node_type)
    world.cloud.fail("F34")
    machine = world.cloud.account.machines[stray.instance_id]
    paths = {"runpod": f"/v2/pods/{stray.instance_id}", "vastai": f"/api/v0/instances/{stray.instance_id}/"}
    path = paths[world.cloud.provider.name]
    assert ask(world, "DELETE", path, key=machine.own_key).status_code in (403, 404)
    assert world.billing() == [stray.name]
    world.tick(6)
    assert world.billing() == []


def test_v01_the_retired_list_is_not_used(vastai: World) -> None:
    assert ask(vastai, "GET", "/api/v0/instances/").status_code == 410
    name = vastai.joined()
    assert [instance.name for instance in vastai.cloud.list()] == [name]


def test_v02_all_pages_are_seen(vastai: World) -> None:
    names = [vastai.cloud.create(vastai.cloud.name(number), vastai.node_type).name for number in range(60)]
    assert [instance.name for instance in vastai.cloud.list()] == names
    assert vastai.cloud.calls("list") == 3


def test_v03_a_refused_key_is_not_taken_for_gone(vastai: World) -> None:
    name = vastai.joined()
    vastai.cloud.fail("V3")
    vastai.reconciler.demand.terminate([name], "no work")
    vastai.tick(1)
    assert vastai.state(name) is IntentState.ENDING
    assert "auth_error" in vastai.degraded()
    vastai.tick(10)
    assert vastai.billing() == []


def test_v04_a_contract_that_comes_with_a_refusal_is_destroyed(vastai: World) -> None:
    vastai.cloud.fail("V4")
    name = vastai.launch()
    vastai.tick(10)
    assert vastai.billing() == [name]
    assert vastai.creations() == 2
    assert vastai.state(name) is IntentState.BOUGHT


def test_v04_a_contract_that_cannot_be_destroyed_at_once_is_destroyed_later(vastai: World) -> None:
    vastai.cloud.fail("V4")
    vastai.cloud.fail("F10")
    name = vastai.launch()
    vastai.tick(20)
    assert vastai.billing() == []
    assert vastai.creations() == 1
    assert "the purchase was refused" in vastai.intent(name).reason


@pytest.mark.parametrize("failure", ["V6-unknown", "V6-offline", "V6-exited", "V6-oci", "V6"])
def test_v06_what_does_not_recover_is_destroyed_and_its_machine_rests(vastai: World, failure: str) -> None:
    vastai.cloud.fail(failure)
    name = vastai.launch()
    vastai.tick(2)
    machine_id = vastai.intent(name).machine_id
    if failure == "V6":  # null is what a new one has, too
        assert vastai.billing() == [name]
        vastai.cloud.clock.now += 610.0
    vastai.tick(5)
    assert vastai.billing() == []
    vastai.tick(12)
    assert vastai.state(name) is IntentState.ENDED
    assert "Vast calls it" in vastai.intent(name).reason
    assert f"machine vastai {machine_id}" in {hold["what"] for hold in vastai.reconciler.fleet()["holds"]}


def test_v07_calls_keep_the_distance_that_a_refusal_demands(vastai: World) -> None:
    vastai.cloud.fail("V7")
    vastai.cloud.fail("V7-rent")
    name = vastai.launch()
    vastai.tick(3)
    assert (vastai.creations(), vastai.billing()) == (2, [name])
    assert {4.25, 4.75} <= {round(seconds, 2) for seconds in vastai.cloud.clock.slept_s}
    vastai.cloud.account.behave({"rate_limits": True})
    vastai.cloud.clock.now += 5.0
    vastai.launch()
    vastai.launch()
    vastai.tick(10)
    assert len(vastai.billing()) == 3
    assert vastai.creations() == 4  # none was refused
    assert vastai.degraded() == ""


def test_v07_the_published_distances_are_kept_from_the_first_call_on(vastai: World) -> None:
    vastai.cloud.account.behave({"rate_limits": True})
    for number in (1, 2, 3):
        vastai.launch()
        vastai.tick(2)
        assert len(vastai.billing()) == number
    assert {exchange.status for exchange in vastai.cloud.conversation.exchanges} == {200}  # none was refused


@pytest.mark.parametrize("failure", ["V8", "V8-410"])
def test_v08_an_offer_that_is_gone_leads_to_the_next(vastai: World, failure: str) -> None:
    vastai.cloud.fail(failure)
    name = vastai.launch()
    vastai.tick(4)
    assert (vastai.creations(), vastai.billing()) == (2, [name])


def ask(world: World, method: str, path: str, body: Any = None, key: str = "fake-key") -> httpx.Response:
    """A call of somebody else's."""
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.request(method, world.cloud.url + path, json=body, headers=headers)
