"""Estimates, analyzers, costs, metrics, metering and retention."""

import asyncio

from serve_apps.work.erasing import erase_expired
from serve_apps.work.metering import meter
from tests.support.product.service import Running, problem

NO_LIMITS = {"per_hour_usd": None, "per_day_usd": None, "per_month_usd": None}
WORKER = {"name": "i-1", "node_type": "gpu", "cloud": "local", "state": "bought", "joined": True, "phase": "a Ray node"}
WORKER |= {"price_usd_per_hour": 3.6, "boot_s": 20.0, "cost_usd": 0.5, "ended_at": None}


def test_analyzers_tell_their_options(service: Running) -> None:
    found = {a["name"]: a for a in service.http.get("/v1/analyzers").json()["analyzers"]}
    assert found["labels"]["options"] == {"fps": {"default": 2.0, "allowed": "a number above 0 to 60"}}
    assert found["speech"]["lane"] == "cpu"


def test_an_estimate_says_what_it_does_not_know(service: Running) -> None:
    body = {"media": [str(service.media)] * 2}
    guess = service.http.post("/v1/estimates", json=body).json()
    assert (guess["media_s"], guess["cost_usd"]) == (20.0, None)
    assert any("no price" in assumption for assumption in guess["assumptions"])
    service.finish(service.submit()["id"])  # 10 s of media in 4 s
    service.fleet.view["instances"] = [WORKER]
    known = service.http.post("/v1/estimates", json=body).json()
    assert known["assumptions"] == []
    assert known["seconds"] == 20.0 + 20.0 / 2.5
    assert known["machine_s"] == 20.0 + 8.0 + 5.0
    assert known["cost_usd"] == round(33.0 * 3.6 / 3600, 6)
    problem(service.http.post("/v1/estimates", json={"media": "/etc/passwd"}), 422, "media[0]")


def test_media_that_cannot_be_read_is_named_in_the_estimate(service: Running) -> None:
    empty = service.media.parent / "empty.mp4"
    empty.write_bytes(b"")
    body = {"media": [str(service.media), str(empty)], "analyzers": ["labels", "speech"]}
    guess = service.http.post("/v1/estimates", json=body).json()
    assert [m["problem"] for m in guess["media"]] == [None, "empty.mp4: the file is empty"]
    assert guess["media_s"] == 20.0


def test_costs_are_the_ledgers_and_what_analyses_have_used_of_them(service: Running) -> None:
    for _ in range(2):  # of the first, a month later only the ledger knows
        analysis_id = service.submit()["id"]
        service.finish(analysis_id)
        service.clock[0] += 30 * 86400
    service.clock[0] -= 30 * 86400
    spent, nothing = {"burn_usd_per_hour": 3.6, "day_usd": 0.7, "month_usd": 9.0}, {"limits": NO_LIMITS}
    scopes, limits = {"local": spent, "all clouds": spent}, {"all clouds": NO_LIMITS | {"per_month_usd": 10.0}}
    service.fleet.view |= {
        "instances": [WORKER],
        "spending": {"scopes": scopes, "limits": limits, "warnings": ["9.00 of the 10 USD"]},
    }
    meter(service.service.store, service.service.lifecycle, service.fleet.view)
    costs = service.http.get("/v1/costs").json()
    assert costs == spent | {
        "since": "2023-12-01T00:00:00.000+00:00",
        "limits": NO_LIMITS | {"per_month_usd": 10.0},
        "by_cloud": {"local": spent | nothing},
        "warnings": ["9.00 of the 10 USD"],
        "analyses_usd": 0.25,
        "by_key": {"root": 0.25},
        "media_minutes": 0.167,
        "usd_per_media_minute": 1.5,
    }
    view = service.http.get(f"/v1/analyses/{analysis_id}").json()
    assert (view["cost_usd"], view["usd_per_media_minute"]) == (0.25, 1.5)


def test_costs_that_nobody_tells_are_null_not_nothing(service: Running) -> None:
    costs = service.http.get("/v1/costs").json()
    assert (costs["burn_usd_per_hour"], costs["month_usd"], costs["by_cloud"]) == (None, None, {})
    assert (costs["analyses_usd"], costs["media_minutes"], costs["usd_per_media_minute"]) == (0.0, 0.0, None)


def test_a_cost_is_remembered_when_the_fleet_forgets(service: Running) -> None:
    analysis_id = service.submit()["id"]
    service.finish(analysis_id)
    service.fleet.view["instances"] = [WORKER]
    meter(service.service.store, service.service.lifecycle, service.fleet.view)
    service.fleet.view["instances"] = []
    assert service.http.get(f"/v1/analyses/{analysis_id}").json()["cost_usd"] == 0.5


def test_an_analysis_stops_when_its_budget_is_used_up(service: Running) -> None:
    running = service.submit(budget_usd=0.4)["id"]
    service.begin(running, segments=2)
    service.fleet.view["instances"] = [WORKER | {"cost_usd": 0.3}]
    assert meter(service.service.store, service.service.lifecycle, service.fleet.view) == 0
    service.fleet.view["instances"] = [WORKER]
    assert meter(service.service.store, service.service.lifecycle, service.fleet.view) == 1
    view = service.http.get(f"/v1/analyses/{running}").json()
    assert view["state"] == "cancelled"
    assert "budget of 0.4 USD is used up" in view["error"]["message"]
    assert view["progress"]["segments_done"] == 1


def test_what_is_past_its_time_is_erased(service: Running) -> None:
    short, unset = service.submit(keep_days=1)["id"], service.submit()["id"]
    assert service.http.get(f"/v1/analyses/{short}").json()["expires_at"] == "2023-11-15T22:13:20.000+00:00"
    service.clock[0] += 86_400
    assert erase_expired(service.service) == 0  # it has not ended
    service.http.delete(f"/v1/analyses/{short}")
    assert erase_expired(service.service) == 1
    assert service.newest() == [unset]


def test_metrics_count_by_route_and_state(service: Running) -> None:
    service.submit()
    service.http.get("/v1/analyses/an_0123456789abcdef")
    text = service.http.get("/metrics").text
    assert 'aima_analyses{state="queued"} 1.0' in text
    assert 'aima_http_requests_total{method="GET",route="/v1/analyses/{analysis_id}",status="404"} 1.0' in text


def test_one_poller_feeds_all_streams(service: Running) -> None:
    ids = [service.submit()["id"] for _ in range(5)]
    store, hub = service.service.store, service.service.hub
    calls: list[int] = []
    heads = store.heads

    def counted(named: list[str]) -> object:
        calls.append(len(named))
        return heads(named)

    store.heads = counted  # type: ignore[assignment,method-assign]

    async def read(analysis_id: str) -> int:
        return len([event async for event in hub.events(analysis_id) if event is not None])

    async def all_of_them() -> list[int]:
        readers = [asyncio.create_task(read(ids[n % 5])) for n in range(200)]
        while hub.open_streams < 200:
            await asyncio.sleep(0.01)
        for analysis_id in ids:
            await asyncio.to_thread(service.finish, analysis_id)
        return list(await asyncio.gather(*readers))

    assert asyncio.run(all_of_them()) == [5] * 200
    assert hub.open_streams == 0
    assert max(calls) == 5  # of each analysis once a tick, however many listen
