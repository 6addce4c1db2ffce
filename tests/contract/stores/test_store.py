"""One contract over SQLite and PostgreSQL: nothing is lost, nothing runs twice at once, nothing counts twice."""

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import Engine

from pipelines.media.sampling import plan_segments
from serve_apps.analyses import AnalysisState, Lane, SegmentState
from serve_apps.queue.contract import ClaimedSegment, SegmentKey
from serve_apps.queue.database_queue import DatabaseQueue
from serve_apps.store.analysis_store import Analysis, IdempotencyConflict, Store, Submission
from serve_apps.store.events import EventKind
from serve_apps.store.lifecycle import Lifecycle
from serve_apps.store.listing import Cursor, Filter, list_analyses
from tests.contract.databases import FakeClock

EMPTY = {"uri": "/m/a.mp4", "error": "a.mp4: is empty"}
REPORT: dict[str, Any] = {"frames": 20, "parts": {"labels": "/storage/part"}}


@pytest.fixture
def store(engine: Engine, clock: FakeClock) -> Store:
    made = Store(engine, clock)
    made.create_tables()
    return made


@pytest.fixture
def queue(engine: Engine, clock: FakeClock, store: Store) -> DatabaseQueue:
    return DatabaseQueue(engine, clock, max_attempts=3)


def asked(store: Store, *media: str) -> Analysis:
    return store.create(Submission(media or ("/m/a.mp4",), ["labels"], "0" * 64))[0]


def planned(store: Store, queue: DatabaseQueue, segments: int = 3, media: int = 1) -> Analysis:
    analysis = asked(store, *(f"/m/{i}.mp4" for i in range(media)))
    plan = plan_segments(60.0 * segments, 60.0)
    assert queue.plan(analysis.id, [{"uri": uri} for uri in analysis.media], [{Lane.GPU: plan}] * media)
    return analysis


def claim_one(queue: DatabaseQueue, owner: str = "me", lease_s: float = 10.0) -> ClaimedSegment:
    return queue.claim_segments(owner, Lane.GPU, 1, lease_s)[0]


def newest(store: Store) -> list[Analysis]:
    return list_analyses(store.engine, Filter(), 100)[0]


def state_of(store: Store, analysis: Analysis) -> AnalysisState:
    found = store.get(analysis.id)
    assert found is not None
    return found.state


def kinds(store: Store, analysis: Analysis) -> list[EventKind]:
    return [e.kind for e in store.events_after(analysis.id, 0)]


def frames(store: Store, analysis: Analysis) -> int:
    return sum(g.frames for g in store.segment_groups([analysis.id])[analysis.id])


def test_what_is_created_is_found_by_another_process(engine: Engine, store: Store, clock: FakeClock) -> None:
    made, created = store.create(Submission(("/m/ä.mp4", "https://x.org/b"), ["labels", "scenes"], "1" * 64, "key"))
    assert created
    assert len(made.id) == 19
    assert Store(engine, clock).get(made.id) == made
    assert Store(engine, clock).get("an_0000000000000000") is None
    assert kinds(store, made) == [EventKind.QUEUED]


def test_a_key_makes_one_analysis(store: Store) -> None:
    first, _ = store.create(Submission(("/m/a",), ["labels"], "1" * 64, "key"))
    again, created = store.create(Submission(("/m/a",), ["labels"], "1" * 64, "key"))
    assert (again, created) == (first, False)
    with pytest.raises(IdempotencyConflict, match=first.id):
        store.create(Submission(("/m/b",), ["labels"], "2" * 64, "key"))
    assert len(newest(store)) == 1


def test_a_key_makes_one_analysis_at_the_same_moment(store: Store) -> None:
    barrier = threading.Barrier(8)

    def create(_n: int) -> tuple[Analysis, bool]:
        barrier.wait()
        return store.create(Submission(("/m/a",), ["labels"], "1" * 64, "key"))

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(create, range(8)))
    assert len({analysis.id for analysis, _ in answers}) == 1
    assert sum(created for _, created in answers) == 1


def test_pages_are_newest_first_and_stay_right_while_new_ones_arrive(store: Store, clock: FakeClock) -> None:
    ids = []
    for number in range(5):
        clock.now += number % 2  # some at the same moment
        ids.append(asked(store).id)
    expected = [a.id for a in newest(store)]
    assert sorted(expected) == sorted(ids)
    seen, cursor = [], None
    for _ in range(3):
        page, cursor = list_analyses(store.engine, Filter(), 2, cursor)
        seen += [a.id for a in page]
        cursor = None if cursor is None else Cursor.decode(cursor.encode())
        clock.now += 1
        asked(store)
    assert seen == expected
    assert cursor is None


def test_lists_meet_all_conditions(store: Store, queue: DatabaseQueue, clock: FakeClock) -> None:
    red = store.create(Submission(("/a",), ["labels"], "0" * 64, labels={"color": "red", "a.b-c": "x"}))[0]
    clock.now += 10
    blue = store.create(Submission(("/b",), ["labels"], "0" * 64, labels={"color": "blue"}))[0]
    queue.plan(red.id, [{"uri": "/a", "error": "no"}], [{}])

    def ids(**conditions: Any) -> list[str]:
        return [a.id for a in list_analyses(store.engine, Filter(**conditions), 10)[0]]

    assert ids(labels={"color": "red"}) == [red.id] == ids(labels={"a.b-c": "x"})
    assert ids(labels={"color": "red", "other": "x"}) == []
    assert ids(states=[AnalysisState.FAILED]) == [red.id]
    assert ids(created_after=1010.0) == [blue.id]
    assert ids(created_before=1010.0) == [red.id]
    assert ids(ids=[blue.id]) == [blue.id]
    assert ids(ids=[]) == []


def test_planning_is_leased_and_done_once(store: Store, queue: DatabaseQueue, clock: FakeClock) -> None:
    analysis = asked(store)
    assert [a.id for a in queue.claim_unplanned("one", 4, 10)] == [analysis.id]
    assert queue.claim_unplanned("two", 4, 10) == []
    clock.now += 10
    assert [a.id for a in queue.claim_unplanned("two", 4, 10)] == [analysis.id]
    plan = [{Lane.GPU: plan_segments(120.0, 60.0)}]
    assert queue.plan(analysis.id, [{}], plan)
    assert not queue.plan(analysis.id, [{}], plan)
    assert state_of(store, analysis) is AnalysisState.RUNNING
    assert queue.claim_unplanned("three", 4, 10) == []
    assert queue.pending_media_s(Lane.GPU) == 120.0


def test_an_analysis_that_cannot_be_read_fails_once(store: Store, queue: DatabaseQueue) -> None:
    analysis = asked(store)
    assert queue.plan(analysis.id, [EMPTY], [{}])
    assert not queue.plan(analysis.id, [EMPTY], [{}])
    assert not queue.plan(analysis.id, [{}], [{Lane.GPU: plan_segments(60.0)}])
    found = store.get(analysis.id)
    assert found is not None
    failed = {"message": "a.mp4: is empty", "media": found.media[0], "segments_failed": 0}
    assert found.error == failed | {"failed_media": [failed | {"index": 0}]}
    assert kinds(store, analysis) == [EventKind.QUEUED, EventKind.FAILED]


def test_one_unreadable_item_leaves_the_others_their_results(store: Store, queue: DatabaseQueue) -> None:
    media = ["/m/a.mp4", "/m/b.mp4"]
    analysis, _ = store.create(Submission(media, ["labels"], "0" * 64))
    assert queue.plan(analysis.id, [EMPTY, {}], [{}, {Lane.GPU: plan_segments(60.0)}])
    claimed = claim_one(queue)
    assert claimed.media_uri == "/m/b.mp4"
    assert queue.complete_segment(claimed.key, "me", REPORT, "i-1", 1.0)
    found = store.get(analysis.id)
    assert found is not None
    assert found.state is AnalysisState.PARTIAL
    failed = {"message": "a.mp4: is empty", "media": "/m/a.mp4", "segments_failed": 0}
    assert found.error == failed | {"failed_media": [failed | {"index": 0}]}
    expected = [EventKind.QUEUED, EventKind.PLANNED, EventKind.MEDIA_FAILED, EventKind.SEGMENT_DONE, EventKind.PARTIAL]
    assert kinds(store, analysis) == expected
    assert len(store.parts(analysis.id)) == len(REPORT["parts"])


def test_an_item_that_breaks_half_way_is_told_beside_those_that_are_whole(store: Store, queue: DatabaseQueue) -> None:
    analysis = planned(store, queue, 2, media=2)
    first, second, *whole = queue.claim_segments("me", Lane.GPU, 9, 10)
    for segment in (first, second):
        queue.fail_segment(segment.key, "me", f"a.mp4: damaged in {segment.segment_index}", retryable=False)
    for segment in whole:
        queue.complete_segment(segment.key, "me", REPORT, "i-1", 1.0)
    found = store.get(analysis.id)
    assert found is not None
    assert found.error is not None
    assert (found.state, found.error["segments_failed"]) == (AnalysisState.PARTIAL, 2)
    (failed,) = found.error["failed_media"]
    assert (failed["index"], failed["message"], failed["segments_failed"]) == (0, "a.mp4: damaged in 0", 2)


def test_another_try_reads_only_what_could_not_be_read(store: Store, queue: DatabaseQueue, clock: FakeClock) -> None:
    lifecycle = Lifecycle(store.engine, clock)
    analysis, _ = store.create(Submission(["/m/a.mp4", "/m/b.mp4"], ["labels"], "0" * 64))
    queue.plan(analysis.id, [EMPTY, {"uri": "/m/b.mp4"}], [{}, {Lane.GPU: plan_segments(60.0)}])
    queue.complete_segment(claim_one(queue).key, "me", REPORT, "i-1", 1.0)
    for mended in (False, True):
        assert lifecycle.retry(analysis.id)
        (again,) = queue.claim_unplanned("me", 4, 10)
        assert again.info == [EMPTY, {"uri": "/m/b.mp4"}]
        info, segments = ({"uri": "/m/a.mp4"}, {Lane.GPU: plan_segments(60.0)}) if mended else (EMPTY, {})
        queue.plan(analysis.id, [info, again.info[1]], [segments, {}])
        assert state_of(store, analysis) is (AnalysisState.RUNNING if mended else AnalysisState.PARTIAL)
    claimed = claim_one(queue)
    assert claimed.media_uri == "/m/a.mp4"
    queue.complete_segment(claimed.key, "me", REPORT, "i-1", 1.0)
    assert state_of(store, analysis) is AnalysisState.SUCCEEDED
    assert not lifecycle.retry(analysis.id)


def test_the_oldest_analysis_is_served_first(store: Store, queue: DatabaseQueue, clock: FakeClock) -> None:
    first = planned(store, queue, 2, media=2)
    clock.now += 1
    second = planned(store, queue, 1)
    claimed = queue.claim_segments("me", Lane.GPU, 4, 10) + queue.claim_segments("me", Lane.GPU, 9, 10)
    assert [c.key for c in claimed] == [
        *(SegmentKey(first.id, m, s) for m in range(2) for s in range(2)),
        SegmentKey(second.id, 0, 0),
    ]
    assert (claimed[3].media_uri, claimed[3].info, claimed[3].last) == ("/m/1.mp4", {"uri": "/m/1.mp4"}, True)
    assert (claimed[3].start_s, claimed[3].end_s, claimed[3].analyzers) == (60.0, 120.0, ("labels",))
    assert queue.claim_segments("me", Lane.GPU, 9, 10) == []


def test_many_claimers_never_share_a_segment(store: Store, queue: DatabaseQueue) -> None:
    analysis = planned(store, queue, 40)
    barrier = threading.Barrier(6)

    def work(owner: str) -> list[SegmentKey]:
        barrier.wait()
        mine = []
        while claimed := queue.claim_segments(owner, Lane.GPU, 2, 60):
            for segment in claimed:
                assert queue.complete_segment(segment.key, owner, REPORT, "i-1", 1.0)
                mine.append(segment.key)
        return mine

    with ThreadPoolExecutor(6) as pool:
        taken = [key for keys in pool.map(work, [f"owner-{i}" for i in range(6)]) for key in keys]
    assert len(taken) == len(set(taken)) == 40
    # The last ones ended beside each other, and exactly one of them ended the analysis.
    assert state_of(store, analysis) is AnalysisState.SUCCEEDED
    assert kinds(store, analysis).count(EventKind.SUCCEEDED) == 1
    assert kinds(store, analysis)[-1] is EventKind.SUCCEEDED
    assert frames(store, analysis) == 40 * 20


def test_a_crashed_dispatcher_loses_its_lease_not_the_work(
    store: Store, queue: DatabaseQueue, clock: FakeClock
) -> None:
    analysis = planned(store, queue, 1)
    lost = claim_one(queue, "crashed", lease_s=10)
    assert queue.first_frame(lost.key, "crashed", "i-1")
    clock.now += 9.9
    assert queue.claim_segments("next", Lane.GPU, 9, 10) == []
    clock.now += 0.1
    found = claim_one(queue, "next")
    assert (found.key, found.attempts) == (lost.key, 0)
    assert queue.renew("crashed", [lost.key], 10) == set()
    assert not queue.first_frame(lost.key, "crashed", "i-1")
    assert queue.fail_segment(lost.key, "crashed", "too late", retryable=False) is None
    # It was only slow after all: its part is written, so its work counts, and the second time does not.
    assert queue.complete_segment(lost.key, "crashed", REPORT, "i-1", 3.0)
    assert not queue.complete_segment(found.key, "next", REPORT, "i-2", 3.0)
    assert frames(store, analysis) == 20
    assert state_of(store, analysis) is AnalysisState.SUCCEEDED
    assert kinds(store, analysis).count(EventKind.SEGMENT_DONE) == 1


def test_renewed_leases_last(store: Store, queue: DatabaseQueue, clock: FakeClock) -> None:
    planned(store, queue, 2)
    keys = [c.key for c in queue.claim_segments("me", Lane.GPU, 2, 10)]
    clock.now += 9
    assert queue.renew("me", keys, 10) == set(keys)
    clock.now += 9
    assert queue.claim_segments("you", Lane.GPU, 9, 10) == []
    assert queue.renew("me", [], 10) == set()


def test_completing_twice_counts_once(store: Store, queue: DatabaseQueue) -> None:
    analysis = planned(store, queue, 2)
    segment = claim_one(queue)
    assert queue.complete_segment(segment.key, "me", REPORT, "i-1", 2.0)
    assert not queue.complete_segment(segment.key, "me", REPORT, "i-1", 2.0)
    assert frames(store, analysis) == 20
    assert [(b.instance, b.busy_s) for b in store.busy([analysis.id])] == [("i-1", 2.0)]
    assert [p.uri for p in store.parts(analysis.id)] == ["/storage/part"]
    (work,) = store.recent_work()
    assert (work.lane, work.instance, work.media_s) == (Lane.GPU, "i-1", 60.0)
    assert work.analyzers == frozenset(analysis.analyzers)
    assert work.ended_at - work.began_at == 2.0
    assert queue.settle(analysis.id) is AnalysisState.RUNNING
    assert queue.settle("an_unknown") is None


def test_failures_back_off_then_fail_the_analysis_and_keep_what_is_done(
    store: Store, queue: DatabaseQueue, clock: FakeClock
) -> None:
    analysis = planned(store, queue, 2)
    bad, good = queue.claim_segments("me", Lane.GPU, 2, 10)
    assert queue.complete_segment(good.key, "me", REPORT, "i-1", 1.0)
    waits = []
    for attempt in range(1, 4):
        state = queue.fail_segment(bad.key, "me", f"lost the worker ({attempt})", retryable=True)
        if state is SegmentState.FAILED:
            break
        assert state is SegmentState.PENDING
        assert queue.claim_segments("me", Lane.GPU, 9, 10) == []
        start = clock.now
        while not (claimed := queue.claim_segments("me", Lane.GPU, 9, 10)):
            clock.now += 0.25
        waits.append(clock.now - start)
        assert claimed[0].attempts == attempt
    assert waits == [0.5, 1.0]
    found = store.get(analysis.id)
    assert found is not None
    assert found.state is AnalysisState.FAILED
    failed = {"message": "lost the worker (3)", "media": "/m/0.mp4", "segments_failed": 1}
    assert found.error == failed | {"failed_media": [failed | {"index": 0}]}
    assert len(store.parts(analysis.id)) == 1
    assert kinds(store, analysis)[-2:] == [EventKind.SEGMENT_FAILED, EventKind.FAILED]


def test_an_outage_uses_up_no_attempt_for_ten_minutes_in_which_nothing_is_done(
    store: Store, queue: DatabaseQueue, clock: FakeClock
) -> None:
    analysis = planned(store, queue, 2)
    bad, good = queue.claim_segments("me", Lane.GPU, 2, 10_000)

    def fails() -> SegmentState | None:
        return queue.fail_segment(bad.key, "me", "OSError: no space left", retryable=True, outage=True)

    def claimed_again() -> ClaimedSegment:
        while not (claimed := queue.claim_segments("me", Lane.GPU, 1, 10_000)):
            clock.now += 5.0
        return claimed[0]

    start = clock.now
    while clock.now - start < 500:
        assert fails() is SegmentState.PENDING
        assert claimed_again().attempts == 0
    assert queue.complete_segment(good.key, "me", REPORT, "i-1", 1.0)  # some storage works: the time begins again
    tried = clock.now
    while clock.now - tried < 600:
        assert fails() is SegmentState.PENDING
        assert claimed_again().attempts == 0
    for attempt in (1, 2):
        assert fails() is SegmentState.PENDING
        assert claimed_again().attempts == attempt
    assert fails() is SegmentState.FAILED
    assert state_of(store, analysis) is AnalysisState.FAILED


def test_media_that_cannot_be_had_for_now_are_planned_later_for_ten_minutes(
    store: Store, queue: DatabaseQueue, clock: FakeClock
) -> None:
    analysis = asked(store, "/m/a.mp4")
    start, waits = clock.now, []
    while True:
        tried = clock.now
        while not (claimed := queue.claim_unplanned("me", 1, 10_000)):
            clock.now += 0.25
        waits.append(clock.now - tried)
        assert [found.id for found in claimed] == [analysis.id]
        if not queue.plan_later(analysis.id, "me", "a.mp4: the server answers 503"):
            break
        found = store.get(analysis.id)
        assert found is not None
        assert (found.state, found.error) == (AnalysisState.QUEUED, {"message": "a.mp4: the server answers 503"})
        assert queue.claim_unplanned("you", 1, 10) == []
    assert waits[:3] == [0.0, 0.5, 0.5]
    assert max(waits) == 60.0
    assert 600 <= clock.now - start < 665
    assert queue.plan(analysis.id, [{"uri": "/m/a.mp4"}], [{Lane.GPU: plan_segments(60.0, 60.0)}])
    found = store.get(analysis.id)
    assert found is not None
    assert (found.state, found.error) == (AnalysisState.RUNNING, None)
    assert queue.plan_later(analysis.id, "me", "too late"), "it is planned: nobody has to lose patience"
    assert set(kinds(store, analysis)) == {EventKind.QUEUED, EventKind.MEDIA_RETRIED, EventKind.PLANNED}


def test_a_hopeless_segment_does_not_stop_the_others(store: Store, queue: DatabaseQueue) -> None:
    analysis = planned(store, queue, 2)
    bad = claim_one(queue)
    assert queue.fail_segment(bad.key, "me", "no frame", retryable=False) is SegmentState.FAILED
    assert state_of(store, analysis) is AnalysisState.RUNNING
    good = claim_one(queue)
    assert queue.complete_segment(good.key, "me", REPORT, "i-1", 1.0)
    assert state_of(store, analysis) is AnalysisState.FAILED


def test_a_clean_stop_hands_everything_back(store: Store, queue: DatabaseQueue, clock: FakeClock) -> None:
    planned(store, queue, 2)
    unplanned = asked(store)
    queue.claim_unplanned("me", 4, 60)
    claimed = queue.claim_segments("me", Lane.GPU, 2, 60)
    assert queue.release("me") == 3
    assert [a.id for a in queue.claim_unplanned("you", 4, 60)] == [unplanned.id]
    assert [(c.key, c.attempts) for c in queue.claim_segments("you", Lane.GPU, 9, 60)] == [(c.key, 0) for c in claimed]


def test_the_first_frame_is_noted_once_and_never_outside_of_the_analysis(
    store: Store, queue: DatabaseQueue, clock: FakeClock
) -> None:
    analysis = planned(store, queue, 2)
    one, two = queue.claim_segments("me", Lane.GPU, 2, 60)
    clock.now += 5
    assert queue.first_frame(one.key, "me", "i-1")
    clock.now += 5
    assert queue.first_frame(two.key, "me", "i-1")
    found = store.get(analysis.id)
    assert found is not None
    assert found.first_frame_at == 1005.0
    assert kinds(store, analysis).count(EventKind.FIRST_FRAME) == 1
    begun = store.segment_groups([analysis.id])[analysis.id]
    assert [(g.state, g.begun, g.count, g.first_begun_at) for g in begun] == [(SegmentState.LEASED, True, 2, 1005.0)]


def test_events_are_read_from_where_one_was(store: Store, queue: DatabaseQueue) -> None:
    analysis, other = planned(store, queue, 1), asked(store)
    claimed = claim_one(queue)
    queue.complete_segment(claimed.key, "me", REPORT, "i-1", 1.0)
    events = store.events_after(analysis.id, 0)
    assert [e.kind.value for e in events] == ["queued", "planned", "segment_done", "succeeded"]
    assert all(a.id < b.id for a, b in pairwise(events))
    assert store.events_after(analysis.id, events[1].id) == events[2:]
    assert store.heads([analysis.id])[analysis.id] == (True, events[-1].id)
    assert not store.heads([other.id])[other.id][0]
    assert store.heads(["an_unknown"]) == {}


def test_nothing_is_asked_of_an_empty_database(store: Store, queue: DatabaseQueue) -> None:
    assert newest(store) == []
    assert store.segment_groups([]) == {}
    assert store.busy([]) == []
    assert store.recent_work() == []
    assert queue.claim_unplanned("me", 4, 10) == []
    assert queue.pending_media_s(Lane.GPU) == 0.0
    assert queue.release("me") == 0


def test_a_plan_is_an_attempt_and_what_ends_its_planners_fails(
    store: Store, queue: DatabaseQueue, clock: FakeClock
) -> None:
    analysis, _ = store.create(Submission(["/m/bomb.mp4"], ["labels"], "0" * 64))
    tries = 0
    while queue.claim_unplanned("dies", 4, 10):
        tries += 1
        clock.now += 11  # its lease runs out: nobody came back
    found = store.get(analysis.id)
    assert found is not None
    error = {"message": f"it could not be planned in {tries} tries"}
    assert (found.state, found.error) == (AnalysisState.FAILED, error)
    assert tries > 1
    assert Lifecycle(store.engine, clock).retry(analysis.id)
    assert [a.id for a in queue.claim_unplanned("me", 4, 10)] == [analysis.id]


def test_what_was_handed_back_or_put_off_is_no_failed_attempt(
    store: Store, queue: DatabaseQueue, clock: FakeClock
) -> None:
    analysis, _ = store.create(Submission(["/m/a.mp4"], ["labels"], "0" * 64))
    for _ in range(6):
        assert queue.claim_unplanned("me", 4, 10)
        queue.release("me")
    for _ in range(6):
        assert queue.claim_unplanned("me", 4, 10)
        assert queue.plan_later(analysis.id, "me", "its server is busy")
        clock.now += 60
    assert queue.claim_unplanned("me", 4, 10)


def test_a_lease_that_is_renewed_lets_nobody_else_plan_and_a_busy_key_is_passed_over(
    store: Store, queue: DatabaseQueue, clock: FakeClock
) -> None:
    slow, _ = store.create(Submission(["/m/a.mp4"], ["labels"], "0" * 64, key_id="ak_slow"))
    clock.now += 1  # asked for later, and so planned later
    own, _ = store.create(Submission(["/m/b.mp4"], ["labels"], "0" * 64))
    assert [a.id for a in queue.claim_unplanned("me", 1, 10)] == [slow.id]
    for _ in range(3):
        clock.now += 8
        queue.renew_plans("me", [slow.id], 10)
        queue.renew_plans("you", [slow.id], 1000)  # not yours
    assert [a.id for a in queue.claim_unplanned("you", 4, 10, [""])] == []
    assert [a.id for a in queue.claim_unplanned("you", 4, 10, ["ak_slow"])] == [own.id]
    clock.now += 11
    assert queue.claim_unplanned("you", 1, 10, ["ak_slow"]) != []
    assert [a.id for a in queue.claim_unplanned("you", 1, 10)] == [slow.id]


def test_one_analysis_is_worth_so_many_workers(store: Store, queue: DatabaseQueue) -> None:
    planned(store, queue, 10)
    planned(store, queue, 1)
    assert queue.pending_media_s(Lane.GPU, 120.0) == 180.0
