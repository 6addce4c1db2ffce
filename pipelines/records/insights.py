"""From records to one JSON: every insight with the ranges of time in which it holds. Plain rows in, plain data out.

{"media": "clip.mp4", "duration_s": 10.0, "insights": [
    {"analyzer": "labels", "kind": "label", "name": "taxicab", "score": 0.83, "ranges": [{"start_s": 2, "end_s": 4.5}]},
    {"analyzer": "transcript", "kind": "utterance", "name": "Good morning.", "ranges": [...], "language": "en"}, ...]}

A frame stands for the time until the next sampled one. What has no name in words (vectors) stays in the Parquet parts.
"""

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from statistics import median
from typing import Any

from pipelines.media.sampling import shots_from_cuts

Row = Mapping[str, Any]
Insight = dict[str, Any]
_LEAST_LABEL_SCORE = 0.2
_FRAME_COLUMNS = {"segment", "frame_index", "time_s", "start_s", "end_s"}


def to_insights(media: str, duration_s: float, records: Mapping[str, Iterable[Row]]) -> dict[str, Any]:
    """The JSON of one media item from all its records, by analyzer; they are gone through more than once.

    Sorted by time within each analyzer.
    """
    found: list[Insight] = []
    for analyzer, rows in records.items():
        make = _MAKERS.get(analyzer, _values)
        insights = [{"analyzer": analyzer} | insight for insight in make(rows, duration_s)]
        found += sorted(insights, key=lambda insight: (insight["ranges"][0]["start_s"], insight["name"]))
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


def _labels(rows: Iterable[Row], duration_s: float) -> list[Insight]:
    sightings = (
        (label["label"], row["time_s"], label["score"])
        for row in rows
        for label in row["labels"]
        if label["score"] >= _LEAST_LABEL_SCORE
    )
    return _named("label", sightings, step_of(rows), duration_s)


def _texts(rows: Iterable[Row], duration_s: float) -> list[Insight]:
    sightings = ((" ".join(row["text"].split()), row["time_s"], row["score"]) for row in rows)
    return _named("text", sightings, step_of(rows), duration_s)


def _objects(rows: Iterable[Row], duration_s: float) -> list[Insight]:
    sightings = ((row["label"], row["time_s"], row["score"]) for row in rows)
    return _named("object", sightings, step_of(rows), duration_s)


def _named(kind: str, sightings: Iterable[tuple[str, float, float]], step_s: float, duration_s: float) -> list[Insight]:
    """One insight a name; its score is the best seen."""
    by_name: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for name, time_s, score in sightings:
        by_name[name].append((time_s, score))
    return [
        {
            "kind": kind,
            "name": name,
            "score": max(score for _, score in seen),
            "ranges": merged_ranges((time_s for time_s, _ in seen), step_s, duration_s),
        }
        for name, seen in by_name.items()
    ]


def _shots(rows: Iterable[Row], duration_s: float) -> list[Insight]:
    shots = shots_from_cuts([row["time_s"] for row in rows], duration_s)
    return [
        {"kind": "shot", "name": f"shot {number}", "ranges": [{"start_s": start, "end_s": end}]}
        for number, (start, end) in enumerate(shots, start=1)
    ]


def _utterances(rows: Iterable[Row], duration_s: float) -> list[Insight]:
    return [
        {
            "kind": "utterance",
            "name": row["text"],
            "language": row["language"],
            "score": row["score"],
            "ranges": [{"start_s": row["start_s"], "end_s": row["end_s"]}],
        }
        for row in rows
    ]


def _speech(rows: Iterable[Row], duration_s: float) -> list[Insight]:
    ranges = [{"start_s": row["start_s"], "end_s": row["end_s"]} for row in rows]
    return [{"kind": "speech", "name": "speech", "ranges": ranges}] if ranges else []


def _nothing(rows: Iterable[Row], duration_s: float) -> list[Insight]:
    return []


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


_MAKERS: dict[str, Callable[[Iterable[Row], float], list[Insight]]] = {
    "labels": _labels,
    "scenes": _shots,
    "objects": _objects,
    "text": _texts,
    "transcript": _utterances,
    "speech": _speech,
    "embeddings": _nothing,
}
