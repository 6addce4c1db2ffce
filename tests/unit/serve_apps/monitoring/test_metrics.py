"""What Prometheus scrapes: well-formed, bounded, and right."""

import re

from serve_apps.analyses import Lane
from serve_apps.monitoring.measures import CAUSES, UsefulTime, cause_of
from serve_apps.store.backlog import backlog
from tests.support.product.expositions import exposition, families, values
from tests.support.product.service import Running


def test_names_and_help_keep_to_prometheus_conventions(service: Running) -> None:
    found = families(exposition(service))
    assert len(found) > 30
    for name, family in found.items():
        assert re.fullmatch(r"aima_[a-z]+(_[a-z]+)*", name)
        assert len(family.documentation) > 10, name
        assert not re.search(r"_(ms|minutes|hours|mib|percent)(_|$)", name), "base units"
        assert all(sample.name.endswith("_total") for sample in family.samples if family.type == "counter"), name
    text = exposition(service)
    described = re.findall(r"^# HELP (\S+)", text, re.M)
    assert len(described) == len(set(described)), "the two processes' parts share no family"


def test_labels_take_few_values(service: Running) -> None:
    for family in families(exposition(service)).values():
        for sample in family.samples:
            bounded = {"cloud", "state", "window", "scope", "lane", "outcome", "stage", "cause", "phase", "queue"}
            assert set(sample.labels) <= bounded | {"le", "method", "route", "status"}, sample


def test_the_orchestrators_metrics_are_there_too(service: Running) -> None:
    found = values(exposition(service))
    assert found["aima_orchestrator_up"] == 1
    assert found['aima_instances{cloud="runpod",state="ending"}'] == 2
    assert found['aima_instances{cloud="none",state="wanted"}'] == 1
    assert found['aima_instance_ending_seconds{cloud="runpod"}'] == 90
    assert found['aima_instance_ending_seconds{cloud="local"}'] == 0
    assert found['aima_cloud_stopped{cloud="runpod"}'] == 1
    assert found['aima_cloud_stopped{cloud="local"}'] == 0
    assert found['aima_cost_usd_per_hour{cloud="runpod"}'] == 2
    assert found['aima_cost_usd_per_hour{cloud="local"}'] == 0, "nothing was bought there yet: 0, not nothing to show"
    assert found['aima_spent_usd{cloud="local",window="month"}'] == 0
    assert found['aima_budget_left_usd{scope="all",window="month"}'] == 40
    assert found['aima_budget_left_usd{scope="all",window="hour"}'] == 1
    assert found['aima_budget_left_usd{scope="vastai",window="day"}'] == 5
    assert found['aima_machine_billed_seconds_total{cloud="runpod",lane="gpu"}'] == 7200
    assert found['aima_machine_billed_seconds_total{cloud="runpod",lane="none"}'] == 60
    assert found['aima_cloud_errors_total{cause="key_refused",cloud="runpod"}'] == 1
    assert found['aima_cold_start_phase_seconds_sum{cloud="runpod",phase="image up"}'] == 24
    assert found["aima_orchestrator_process_resident_memory_bytes"] > 1 << 20
    assert found["aima_head_memory_bytes"] == 700 << 20


def test_without_the_orchestrator_the_rest_is_answered(service: Running) -> None:
    found = values(service.http.get("/metrics").text)
    assert found["aima_orchestrator_up"] == 0
    assert found['aima_queue_depth{queue="planning"}'] == 0


def test_a_segment_waits_until_its_first_frame(service: Running) -> None:
    analysis_id = service.submit()["id"]
    service.clock[0] += 10
    planning = values(service.http.get("/metrics").text)
    assert planning['aima_queue_depth{queue="planning"}'] == 1
    assert planning['aima_queue_oldest_age_seconds{queue="planning"}'] == 10
    service.begin(analysis_id, segments=3)
    engine = service.service.store.engine
    assert backlog(engine).waiting["gpu"][0] == 2
    (claimed,) = service.queue.claim_segments("me", Lane.GPU, 1, 60)
    assert backlog(engine).waiting["gpu"][0] == 2, "claimed, but its machine may still boot"
    service.queue.first_frame(claimed.key, "me", "i-1")
    now = backlog(engine)
    assert (now.waiting["gpu"][0], now.running["gpu"]) == (1, 1)
    service.clock[0] += 20
    ages = values(service.http.get("/metrics").text)
    assert ages['aima_queue_oldest_age_seconds{queue="gpu"}'] == 34, "from the request on"
    assert ages['aima_queue_oldest_age_seconds{queue="cpu"}'] == 0


def test_useful_time_counts_a_machine_once_however_many_segments_it_works_on() -> None:
    now = [0.0]
    useful = UsefulTime(lambda: now[0])
    useful.begin("a", Lane.GPU, "i-1")
    now[0] = 2.0
    useful.begin("b", Lane.GPU, "i-1")
    useful.begin("b", Lane.GPU, "i-1")
    useful.begin("c", Lane.CPU, "i-2")
    now[0] = 5.0
    useful.end("a")
    assert useful.totals() == {Lane.GPU: 5.0, Lane.CPU: 3.0}
    now[0] = 6.0
    useful.end("b")
    useful.end("b")
    useful.end("never began")
    now[0] = 9.0
    assert useful.totals() == {Lane.GPU: 6.0, Lane.CPU: 7.0}


def test_causes_are_few_and_name_what_is_to_be_done() -> None:
    class ActorDiedError(type("RayActorError", (Exception,), {})):  # type: ignore[misc]
        """As Ray's is derived."""

    class NoSpace(OSError):
        """As a full disk raises it."""

    assert cause_of(ActorDiedError()) == "worker lost"
    assert cause_of(NoSpace()) == "storage"
    assert cause_of(TimeoutError()) == "timeout", "it is an OSError too"
    assert cause_of(MemoryError()) == "memory"
    assert cause_of(ZeroDivisionError()) == "other"
    assert {cause_of(e) for e in (MemoryError(), ZeroDivisionError(), OSError())} <= set(CAUSES)
