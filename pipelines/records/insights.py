"""From records to one JSON: every insight with the ranges of time in which it holds. Plain rows in, plain data out.

{"media": "clip.mp4", "duration_s": 10.0, "insights": [
    {"analyzer": "labels", "kind": "label", "name": "taxicab", "score": 0.83, "ranges": [{"start_s": 2, "end_s": 4.5}]},
    {"analyzer": "transcript", "kind": "utterance", "name": "Good morning.", "ranges": [...], "language": "en"}, ...]}

A frame stands for the time until the next sampled one. An analyzer's parts carry its `InsightRule` in their
metadata; without one, records read by their values. Vectors stay in the Parquet.
"""

import itertools
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Literal

from pipelines.media.sampling import shots_from_cuts

Row = Mapping[str, Any]
Insight = dict[str, Any]
_FRAME_COLUMNS = {"segment", "frame_index", "time_s", "start_s", "end_s"}


@dataclass(frozen=True)
class InsightRule:
    """How the records of an analyzer read as insights of this `kind`.

    `form`: "sightings" are frames in which a name is seen, put together over time; "ranges" are rows with `start_s` and
    `end_s`; "cuts" are rows at whose `time_s` one shot ends and the next begins; "hidden" records are no insights.
    `name` and `score` are columns. With `items`, a column that is a list, they are fields of its items. Without
    `name`, all records are one insight, called `called`. Sightings with a score below `least_score` are left out.
    `also` names columns that an insight carries along.
    """

    kind: str
    form: Literal["sightings", "ranges", "cuts", "hidden"]
    name: str = ""
    called: str = ""
    score: str = ""
    items: str = ""
    least_score: float = 0.0
    also: tuple[str, ...] = ()

    def to_json(self) -> str:
        """As it stands in a part's metadata."""
        return json.dumps(asdict(self))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "InsightRule":
        """A rule from its JSON object. Raises ValueError or TypeError for anything else."""
        rule = cls(**{**values, "also": tuple(values.get("also", ()))})
        if rule.form not in _FORMS:
            raise ValueError(f"form {rule.form!r}: it is one of {', '.join(_FORMS)}")
        return rule


def to_insights(
    media: str, duration_s: float, records: Mapping[str, Iterable[Row]], rules: Mapping[str, InsightRule | None]
) -> dict[str, Any]:
    """The JSON of one media item from all its records, by analyzer; the records are gone through more than once.

    Sorted by time within each analyzer. Times are rounded to milliseconds, scores to four digits.
    """
    found: list[Insight] = []
    for analyzer, rows in records.items():
        rule = rules.get(analyzer)
        insights = _values(rows, duration_s) if rule is None else _FORMS[rule.form](rule, rows, duration_s)
        rounded = [{"analyzer": analyzer} | _rounded(insight) for insight in insights]
        found += sorted(rounded, key=lambda insight: (insight["ranges"][0]["start_s"], insight["name"]))
    return {"media": media, "duration_s": duration_s, "insights": found}


def merged_ranges(times_s: Iterable[float], step_s: float, end_s: float) -> list[dict[str, float]]:
    """Sightings, each good for `step_s`, as ranges: neighbours at most one and a half steps apart are one."""
    ranges: list[dict[str, float]] = []
    for time_s in sorted(times_s):
        until_s = max(time_s, min(time_s + step_s, end_s))
        if ranges and time_s - ranges[-1]["end_s"] <= step_s / 2:
            ranges[-1]["end_s"] = until_s
        else:
            ranges.append({"start_s": time_s, "end_s": until_s})
    return ranges


def step_of(rows: Iterable[Row]) -> float:
    """The usual time between sampled frames; 0 where there is but one."""
    times = sorted({row["time_s"] for row in rows})
    return median(b - a for a, b in itertools.pairwise(times)) if len(times) > 1 else 0.0


def _sightings(rule: InsightRule, rows: Iterable[Row], duration_s: float) -> list[Insight]:
    """One insight a name; its score is the best seen."""
    by_name: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        for item in row[rule.items] if rule.items else (row,):
            score = item[rule.score] if rule.score else 1.0
            if score >= rule.least_score:
                by_name[_name(rule, item)].append((row["time_s"], score))
    step_s = step_of(rows)
    return [
        {
            "kind": rule.kind,
            "name": name,
            **({"score": max(score for _, score in seen)} if rule.score else {}),
            "ranges": merged_ranges((time_s for time_s, _ in seen), step_s, duration_s),
        }
        for name, seen in by_name.items()
    ]


def _ranges(rule: InsightRule, rows: Iterable[Row], duration_s: float) -> list[Insight]:
    if not rule.name:
        ranges = [_range(row) for row in rows]
        return [{"kind": rule.kind, "name": _name(rule, {}), "ranges": ranges}] if ranges else []
    return [
        {
            "kind": rule.kind,
            "name": _name(rule, row),
            **{column: row[column] for column in rule.also},
            **({"score": row[rule.score]} if rule.score else {}),
            "ranges": [_range(row)],
        }
        for row in rows
    ]


def _cuts(rule: InsightRule, rows: Iterable[Row], duration_s: float) -> list[Insight]:
    shots = shots_from_cuts([row["time_s"] for row in rows], duration_s)
    return [
        {"kind": rule.kind, "name": f"{rule.kind} {number}", "ranges": [{"start_s": start, "end_s": end}]}
        for number, (start, end) in enumerate(shots, start=1)
    ]


def _hidden(rule: InsightRule, rows: Iterable[Row], duration_s: float) -> list[Insight]:
    return []


_FORMS: dict[str, Callable[[InsightRule, Iterable[Row], float], list[Insight]]] = {
    "sightings": _sightings,
    "ranges": _ranges,
    "cuts": _cuts,
    "hidden": _hidden,
}


def _name(rule: InsightRule, item: Row) -> str:
    return " ".join(str(item[rule.name]).split()) if rule.name else rule.called or rule.kind


def _range(row: Row) -> dict[str, float]:
    return {"start_s": row["start_s"], "end_s": row["end_s"]}


def _rounded(insight: Insight) -> Insight:
    ranges = [{key: round(time_s, 3) for key, time_s in span.items()} for span in insight["ranges"]]
    score = {"score": round(insight["score"], 4)} if "score" in insight else {}
    return insight | score | {"ranges": ranges}


def _values(rows: Iterable[Row], duration_s: float) -> list[Insight]:
    """Any other analyzer: equal neighbours are one insight, named by their values."""
    step_s = step_of(rows) if "time_s" in next(iter(rows), {}) else 0.0
    found: list[Insight] = []
    for row in rows:
        values = {key: value for key, value in row.items() if key not in _FRAME_COLUMNS}
        start_s = row.get("time_s", row.get("start_s", 0.0))
        end_s = row.get("end_s", max(start_s, min(start_s + step_s, duration_s)))
        last = found[-1] if found else None
        if last and last["values"] == values and start_s - last["ranges"][-1]["end_s"] <= step_s / 2:
            last["ranges"][-1]["end_s"] = end_s
            continue
        name = ", ".join(f"{key} {_short(value)}" for key, value in values.items())
        found.append(
            {"kind": "value", "name": name, "values": values, "ranges": [{"start_s": start_s, "end_s": end_s}]}
        )
    return found


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
