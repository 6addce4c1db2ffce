"""What only the clouds that rent machines do: needs against a market, refusals, and what their lists really say."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autoscaler.decisions import budget
from autoscaler.decisions.selection import Experience, weigh
from autoscaler.errors import (
    ApiRetired,
    BalanceTooLow,
    CloudError,
    KeyRefused,
    NoCapacity,
    OutcomeUnknown,
    QuotaExceeded,
    RequestRefused,
)
from autoscaler.fakes.failures import html, problem, refusal
from autoscaler.fakes.faults import Answer, Fault
from autoscaler.fakes.vastai_models import offers as market
from autoscaler.types import InstanceStatus, NodeType, Offer, Trust
from tests.support.clouds.providers import NODE_TYPE, RENTED, Rented, rented

ANY = replace(NODE_TYPE, min_vcpus_per_gpu=1.0)


@pytest.fixture(params=RENTED)
def cloud(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rented]:
    with asyncio.Runner() as runner, rented(request.param, tmp_path, runner) as cloud:
        yield cloud


@pytest.fixture
def runpod(tmp_path: Path) -> Iterator[Rented]:
    with asyncio.Runner() as runner, rented("runpod", tmp_path, runner) as cloud:
        yield cloud


@pytest.fixture
def vastai(tmp_path: Path) -> Iterator[Rented]:
    with asyncio.Runner() as runner, rented("vastai", tmp_path, runner) as cloud:
        yield cloud


def offers(cloud: Rented, **need: Any) -> list[Offer]:
    return list(cloud.run(cloud.provider.list_offers(replace(ANY, **need))))


@pytest.mark.parametrize(
    "need",
    [
        {"gpu_names": ("RTX_4090",)},
        {"gpu_memory_gib": 40},
        {"regions": ("EU",)},
        {"regions": ("CZ",)},
        {"trust": Trust.SECURE},
        {"max_price_usd_per_hour": 0.5},
        {"resources": {"GPU": 0}},
    ],
)
def test_a_need_leaves_out_what_does_not_meet_it(cloud: Rented, need: dict[str, Any]) -> None:
    everything, met = offers(cloud), offers(cloud, **need)
    assert everything
    assert {(o.gpu_name, o.trust) for o in met} < {(o.gpu_name, o.trust) for o in everything} or "regions" in need
    for offer in met:
        assert offer.gpu_memory_gib >= need.get("gpu_memory_gib", 0)
        assert offer.full_usd_per_hour <= need.get("max_price_usd_per_hour", 99)
        assert not (need.get("trust") is Trust.SECURE and offer.trust is Trust.COMMUNITY)
        if "regions" in need:
            assert offer.region in ("EU-RO-1", "EU-CZ-1", "BG", "CZ", "SE", "PL", "FR")
            assert need["regions"] == ("EU",) or "CZ" in offer.region


def test_vast_is_searched_for_figures_as_well(vastai: Rented) -> None:
    assert {o.region for o in offers(vastai, gpu_names=("RTX 4090",))} == {"US", "CZ", "SE", "PL"}
    assert {o.region for o in offers(vastai, gpu_names=("RTX 4090",), min_vcpus_per_gpu=8)} == {"US", "CZ", "SE"}
    assert {o.region for o in offers(vastai, gpu_names=("RTX 4090",), min_reliability=0.99)} == {"CZ", "SE", "PL"}
    assert {o.region for o in offers(vastai, gpu_names=("RTX 4090",), min_cuda="13.0")} == {"SE"}
    assert {o.gpu_name for o in offers(vastai, gpu_names=("NVIDIA A100 PCIe",))} == {"A100 PCIE"}
    assert offers(vastai, disk_gib=501) == []
    (small, *_), (large, *_) = offers(vastai, disk_gib=10), offers(vastai, disk_gib=400)
    assert large.storage_usd_per_hour == pytest.approx(40 * small.storage_usd_per_hour, rel=1e-3)
    assert large.bandwidth_usd_per_gib > 0


def test_runpod_does_not_offer_what_is_out_of_stock(runpod: Rented) -> None:
    before = {offer.offer_id for offer in offers(runpod)}
    runpod.account.behave({"stock": {"SECURE/NVIDIA L4": 0}})
    assert before - {offer.offer_id for offer in offers(runpod)} == {"SECURE//NVIDIA L4"}


def test_prices_change_with_the_market(cloud: Rented) -> None:
    offer = offers(cloud)[-1]
    key = {"runpod": offer.offer_id.replace("//", "/"), "vastai": offer.offer_id}[cloud.provider.name]
    cloud.account.behave({"prices": {key: 0.01}})
    now = next(o for o in offers(cloud) if o.offer_id == offer.offer_id)
    assert now.price_usd_per_hour == pytest.approx(0.01)
    created = cloud.run(cloud.provider.create_instance(replace(cloud.request(cloud.name(), ANY), offer=now)))
    assert created.price_usd_per_hour == pytest.approx(0.01, abs=now.storage_usd_per_hour + 1e-6)


def test_what_is_offered_can_be_bought_at_its_price(cloud: Rented) -> None:
    for number, offer in enumerate(offers(cloud)[:8]):
        request = replace(cloud.request(cloud.name(number), ANY), offer=offer)
        created = cloud.run(cloud.provider.create_instance(request))
        assert created.price_usd_per_hour <= offer.full_usd_per_hour + 1e-6
        assert created.price_usd_per_hour >= offer.price_usd_per_hour - 1e-6
        assert cloud.listed(created.name) is not None


def test_a_machine_gets_command_and_environment_unchanged(cloud: Rented) -> None:
    command = ("sh", "-c", "echo \"$GREETING\" 'two words' | cat")
    request = cloud.request(cloud.name(), start_command=command)
    cloud.account.behave({"containers": True})
    environment = {"GREETING": 'it\'s "quoted" & $HOME', "EMPTY": ""}
    cloud.run(cloud.provider.create_instance(replace(request, environment=environment)))
    (machine,) = cloud.account.machines.values()
    assert machine.container is not None
    assert machine.container.command == list(command)
    assert environment.items() <= machine.container.environment.items()


REFUSALS: list[tuple[str, Answer, type[CloudError]]] = [
    ("runpod", problem(400, "no instances currently available"), NoCapacity),
    ("runpod", problem(400, "This machine does not have the resources to deploy your pod."), NoCapacity),
    ("runpod", problem(400, "mounts are mutually exclusive"), RequestRefused),
    ("runpod", problem(400, "Something went wrong. Please try again later."), OutcomeUnknown),
    ("runpod", problem(402, "Insufficient balance"), BalanceTooLow),
    ("runpod", problem(403, "no access to this pool"), RequestRefused),
    ("runpod", problem(400, "You have reached your spending limit of $80/hr."), QuotaExceeded),
    ("runpod", problem(403, "Pod quota exceeded for this account"), QuotaExceeded),
    ("runpod", html(403), KeyRefused),
    ("runpod", problem(403, "access denied"), KeyRefused),
    ("runpod", problem(403, "Forbidden"), KeyRefused),
    ("runpod", problem(403, "This API key is read-only"), KeyRefused),
    ("runpod", problem(403, "Your account cannot access the requested pool."), RequestRefused),
    ("runpod", problem(404, "GPU type not found"), RequestRefused),
    ("runpod", html(404), OutcomeUnknown),
    ("runpod", problem(410, "Gone"), ApiRetired),
    ("runpod", problem(413, "too large"), RequestRefused),
    ("runpod", problem(422, "Request validation failed."), RequestRefused),
    ("runpod", problem(418, "teapot"), OutcomeUnknown),
    ("vastai", refusal(400, "invalid_price", "Invalid price"), RequestRefused),
    ("vastai", refusal(400, "insufficient_credit", "Your account lacks credit"), BalanceTooLow),
    ("vastai", refusal(400, "invalid_args", "instance limit reached"), QuotaExceeded),
    ("vastai", refusal(401, "auth_error", "Invalid user key"), KeyRefused),
    ("vastai", refusal(403, "invalid_args", "Offer 1 is not your own."), RequestRefused),
    ("vastai", refusal(403, "forbidden", "User is blacklisted"), KeyRefused),
    ("vastai", refusal(403, "not_authorized", "This key lacks the permission to rent machines"), KeyRefused),
    ("vastai", refusal(404, "auth_error", "Invalid user key"), KeyRefused),
    ("vastai", refusal(404, "invalid_args", "error 404/3603: no_such_ask"), NoCapacity),
    ("vastai", refusal(410, "no_such_ask", "is no longer available."), NoCapacity),
    ("vastai", refusal(410, "gone", "This endpoint has moved"), ApiRetired),
    ("vastai", refusal(200, "invalid_args", "no_such_ask"), NoCapacity),
    ("vastai", Answer(status=200, body='{"success": true}'), OutcomeUnknown),
    ("vastai", html(502), OutcomeUnknown),
]


@pytest.mark.parametrize(("name", "answer", "kind"), REFUSALS)
def test_every_refusal_has_its_meaning(name: str, answer: Answer, kind: type[CloudError], tmp_path: Path) -> None:
    with asyncio.Runner() as runner, rented(name, tmp_path, runner) as cloud:
        request = cloud.request(cloud.name())
        cloud.account.faults.add(Fault(on="create", answer=answer))
        with pytest.raises(CloudError) as caught:
            cloud.run(cloud.provider.create_instance(request))
        assert type(caught.value) is kind
        assert cloud.calls("create") == 1


def test_what_runpod_cannot_take_is_not_sent(runpod: Rented) -> None:
    request = runpod.request(runpod.name())
    many = {f"V{number}": "" for number in range(51)}
    with pytest.raises(RequestRefused, match="takes 50 variables, not 51"):
        runpod.run(runpod.provider.create_instance(replace(request, environment=many)))
    with pytest.raises(RequestRefused, match="102400 bytes"):
        runpod.run(runpod.provider.create_instance(replace(request, start_command=("x" * 102_400,))))
    assert runpod.calls("create") == 0


def test_states_are_told_as_they_are(runpod: Rented) -> None:
    runpod.account.behave({"provision_s": 5.0, "start_s": 5.0})
    runpod.account.faults.add(Fault(on="create", quirk="exits"))
    created = runpod.create(runpod.name())
    assert created.status is InstanceStatus.PENDING
    runpod.clock.now += 10.0
    listed = runpod.listed(runpod.name())
    assert listed is not None
    assert (listed.status, listed.detail) == (InstanceStatus.FAILED, "RunPod calls it EXITED")
    assert listed.created_at == pytest.approx(created.created_at)


def test_a_terminated_pod_that_is_still_listed_is_gone(runpod: Rented) -> None:
    runpod.create(runpod.name())
    said = runpod.conversation.exchanges[-1].reply.decode()
    body = f'{{"pods":[{said.replace("RUNNING", "TERMINATED")}]}}'
    runpod.account.faults.add(Fault(on="list", answer=Answer(status=200, body=body)))
    assert runpod.list() == []
    assert len(runpod.list()) == 1


def test_the_same_page_again_and_again_is_no_list(cloud: Rented) -> None:
    page = {
        "runpod": '{"pods":[],"pagination":{"hasNextPage":true,"nextCursor":"1"}}',
        "vastai": '{"success":true,"instances":[],"next_token":"1"}',
    }[cloud.provider.name]
    cloud.account.faults.add(Fault(on="list", times=200, answer=Answer(status=200, body=page)))
    with pytest.raises(CloudError):
        cloud.list()
    assert cloud.calls("list") < 5


def test_a_node_type_without_a_gpu_is_not_offered(cloud: Rented) -> None:
    assert cloud.run(cloud.provider.list_offers(NodeType("cpu", {"CPU": 4}, 1, ("any",)))) == []


@pytest.mark.parametrize("filters", [True, False])
def test_v10_what_is_cheap_for_a_bad_reason_is_not_offered(vastai: Rented, filters: bool) -> None:
    """Another maker's GPU, a minute left, a slow link, dear transfers: whether or not the search leaves them out."""
    vastai.account.behave({"filters_offers": filters})
    found = offers(vastai)
    assert min(offer.price_usd_per_hour for offer in found) > 0.15
    assert {offer.gpu_vendor for offer in found} == {"nvidia"}
    assert "RX 7900 XTX" in {offer.gpu_name for offer in offers(vastai, gpu_vendor="amd")}
    assert min(offer.available_s for offer in offers(vastai, expected_work_s=0.0)) > 60.0, "its boot would not end"
    assert 20.0 in {offer.download_mbps for offer in offers(vastai, min_download_mbps=0.0)}
    assert max(offer.transfer_usd for offer in offers(vastai, max_transfer_usd_per_gib=None)) > 8
    assert vastai.conversation.violations() == []


@pytest.mark.parametrize(
    ("odd", "sold"),
    [
        ({}, True),
        ({"gpu_arch": "NVIDIA"}, True),
        ({"gpu_arch": "amd"}, False),
        ({"gpu_arch": "intel"}, False),
        ({"gpu_arch": None}, True),
        ({"gpu_arch": None, "cuda_max_good": None}, False),
        ({"duration": 60.0}, False),
        ({"duration": "60"}, False),
        ({"duration": -1.0}, False),
        ({"duration": "soon"}, False),
        ({"duration": None}, True),
        ({"duration": 1850.0}, False),
        ({"duration": 1950.0}, True),
        ({"end_date": 1_000_060.0}, False),
        ({"end_date": 1_000_060.0, "duration": None}, False),
        ({"end_date": 1_900_000_000.0}, True),
        ({"inet_down": 20.0}, False),
        ({"inet_down": float("nan")}, False),
        ({"inet_down": None}, True),
        ({"inet_down_cost": 2.0}, False),
        ({"inet_up_cost": 2.0}, False),
        ({"inet_up_cost": "2"}, False),
        ({"inet_up_cost": "dear"}, False),
        ({"inet_down_cost": -1.0}, False),
        ({"inet_down_cost": None, "inet_up_cost": None}, True),
        ({"dph_total": 0.0}, False),
        ({"dph_total": float("nan")}, False),
    ],
)
def test_v10_an_offer_is_judged_by_all_that_it_says(vastai: Rented, odd: dict[str, Any], sold: bool) -> None:
    offer = next(iter(market())) | {"dph_total": 0.2} | odd
    vastai.account.faults.add(Fault(on="offers", answer=Answer(status=200, body=json.dumps({"offers": [offer]}))))
    assert len(offers(vastai)) == sold


def test_runpods_gpus_of_another_maker_or_without_the_cuda_version_are_not_offered(runpod: Rented) -> None:
    assert "MI300X" not in {offer.gpu_name for offer in offers(runpod)}
    assert {offer.gpu_name for offer in offers(runpod, gpu_vendor="amd")} == {"MI300X"}
    assert offers(runpod, gpu_vendor="amd", min_cuda="12.4") == []
    assert len(offers(runpod, min_cuda="13.0")) == len(offers(runpod))
    assert offers(runpod, min_cuda="13.1") == []


def test_transfers_are_part_of_what_a_purchase_costs(vastai: Rented) -> None:
    """In rank and budget; the ledger's part is tested with the ledger."""
    offer = replace(offers(vastai)[0], bandwidth_usd_per_gib=0.04, upload_usd_per_gib=0.02)
    assert offer.transfer_usd == pytest.approx(4 * 0.04 + 0.5 * 0.02)
    plain = replace(offer, bandwidth_usd_per_gib=0.0, upload_usd_per_gib=0.0)
    assert weigh(offer, Experience()).expected_usd > weigh(plain, Experience()).expected_usd + 0.16
    limit = budget.Budgets(budget.Budget(per_day_usd=0.1))
    assert budget.refusal(limit, {}, "vastai", plain.full_usd_per_hour, plain.transfer_usd) == ""
    assert "0.1 USD per day" in budget.refusal(limit, {}, "vastai", offer.full_usd_per_hour, offer.transfer_usd)
