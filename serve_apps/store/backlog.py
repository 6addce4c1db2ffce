"""What waits and what runs, counted in the database."""

from dataclasses import dataclass

from sqlalchemy import Engine, func, select

from serve_apps.analyses import AnalysisState, Lane, SegmentState
from serve_apps.queue.completion import OPEN
from serve_apps.store.tables import analyses, reading, segments

_a, _s = analyses.c, segments.c
PLANNING = "planning"


@dataclass(frozen=True)
class Backlog:
    """`waiting`: queue -> (how many, since when the oldest waits in epoch seconds, None for none). Queues are the
    lanes, and "planning" for analyses that are not cut into segments yet. A segment waits until its first frame is
    decoded, so while its machine boots too. `running`: segments by lane. `analyses`: by state.
    """

    waiting: dict[str, tuple[int, float | None]]
    running: dict[str, int]
    analyses: dict[str, int]


def backlog(engine: Engine) -> Backlog:
    """As it stands now."""
    by_state = select(_a.state, func.count(), func.min(_a.created_at)).group_by(_a.state)
    begun = _s.started_at.is_not(None) & (_s.state == SegmentState.LEASED.value)
    by_lane = (
        select(_s.lane, begun, func.count(), func.min(_s.queued_at)).where(_s.state.in_(OPEN)).group_by(_s.lane, begun)
    )
    with reading(engine) as connection:
        states = {state: (number, oldest) for state, number, oldest in connection.execute(by_state)}
        lanes = {(lane, bool(runs)): (number, oldest) for lane, runs, number, oldest in connection.execute(by_lane)}
    waiting = {PLANNING: states.get(AnalysisState.QUEUED.value, (0, None))}
    waiting |= {lane.value: lanes.get((lane.value, False), (0, None)) for lane in Lane}
    return Backlog(
        waiting=waiting,
        running={lane.value: lanes.get((lane.value, True), (0, None))[0] for lane in Lane},
        analyses={state.value: states.get(state.value, (0, None))[0] for state in AnalysisState},
    )
