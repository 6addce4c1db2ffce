"""Records become insights with ranges of time."""

import json
from typing import Any

import pytest

from pipelines.analyzers.registry import analyzer_names, describe
from pipelines.records.insights import InsightRule, merged_ranges, to_insights


def of(analyzer: str, rows: list[dict[str, Any]], duration_s: float = 10.0) -> list[dict[str, Any]]:
    rule = describe(analyzer).insight if analyzer in analyzer_names() else None
    found = to_insights("clip.mp4", duration_s, {analyzer: rows}, {analyzer: rule})
    assert (found["media"], found["duration_s"]) == ("clip.mp4", duration_s)
    insights: list[dict[str, Any]] = found["insights"]
    assert {insight["analyzer"] for insight in insights} <= {analyzer}
    return [{key: value for key, value in insight.items() if key != "analyzer"} for insight in insights]


def span(start_s: float, end_s: float) -> dict[str, Any]:
    return {"start_s": pytest.approx(start_s), "end_s": pytest.approx(end_s)}


def test_sightings_become_ranges() -> None:
    assert merged_ranges([], 0.5, 10) == []
    assert merged_ranges([0, 0.5, 1.04, 3], 0.5, 10) == [span(0, 1.54), span(3, 3.5)]
    assert merged_ranges([9.8], 0.5, 10) == [span(9.8, 10)]  # not beyond the end
    assert merged_ranges([10.2], 0.5, 10) == [span(10.2, 10.2)]  # headers round durations


def test_labels_are_merged_over_time() -> None:
    rows = [
        {"time_s": time_s, "labels": [{"label": label, "score": score}, {"label": "noise", "score": 0.05}]}
        for time_s, label, score in [(0.0, "cat", 0.5), (0.5, "cat", 0.9), (1.0, "dog", 0.6), (1.5, "cat", 0.4)]
    ]
    assert of("labels", rows, 2.0) == [
        {"kind": "label", "name": "cat", "score": 0.9, "ranges": [span(0, 1), span(1.5, 2)]},
        {"kind": "label", "name": "dog", "score": 0.6, "ranges": [span(1, 1.5)]},
    ]


def test_cuts_become_shots() -> None:
    shots = of("scenes", [{"time_s": 4.0, "score": 0.9}, {"time_s": 7.0, "score": 0.9}])
    assert [shot["ranges"] for shot in shots] == [[span(0, 4)], [span(4, 7)], [span(7, 10)]]
    assert of("scenes", []) == [{"kind": "shot", "name": "shot 1", "ranges": [span(0, 10)]}]


def test_text_that_stays_is_one_insight() -> None:
    rows = [{"time_s": t, "text": text, "score": 0.9} for t, text in [(1, "EXIT"), (2, "EXIT "), (3, "Way out")]]
    found = of("text", rows)
    assert [(text["name"], text["ranges"]) for text in found] == [("EXIT", [span(1, 3)]), ("Way out", [span(3, 4)])]


def test_what_is_said_keeps_its_times() -> None:
    row = {"start_s": 1.5, "end_s": 2.5, "text": "Good morning.", "language": "en", "score": 0.7}
    assert of("transcript", [row]) == [
        {"kind": "utterance", "name": "Good morning.", "language": "en", "score": 0.7, "ranges": [span(1.5, 2.5)]}
    ]
    assert of("speech", []) == []
    assert of("speech", [{"start_s": 1, "end_s": 2}, {"start_s": 4, "end_s": 5}])[0]["ranges"] == [
        span(1, 2),
        span(4, 5),
    ]


def test_any_other_analyzer_gives_its_values() -> None:
    rows = [{"time_s": float(t), "frame_index": t, "mean": mean} for t, mean in enumerate([0.0, 0.0, 80.0])]
    assert of("brightness", rows, 3.0) == [
        {"kind": "value", "name": "mean 0", "values": {"mean": 0.0}, "ranges": [span(0, 2)]},
        {"kind": "value", "name": "mean 80", "values": {"mean": 80.0}, "ranges": [span(2, 3)]},
    ]
    assert of("embeddings", [{"time_s": 0.0, "embedding": [0.1]}]) == []


def test_an_analyzer_of_somebody_else_reads_by_its_own_rule() -> None:
    """The rule travels in the metadata of the parts: nothing here knows the analyzer."""
    rule = InsightRule("gesture", "sightings", name="sign", score="certainty", least_score=0.5)
    rows = [{"time_s": t, "sign": "wave", "certainty": c} for t, c in [(0.0, 0.9), (1.0, 0.7), (2.0, 0.1)]]
    read_back = InsightRule.from_dict(json.loads(rule.to_json()))
    found = to_insights("clip.mp4", 3.0, {"gestures": rows}, {"gestures": read_back})
    assert found["insights"] == [
        {"analyzer": "gestures", "kind": "gesture", "name": "wave", "score": 0.9, "ranges": [span(0, 2)]}
    ]


def test_a_picture_that_is_safe_is_no_insight() -> None:
    rows = [{"time_s": float(t), "nsfw": 0.00024} for t in range(200)]
    assert of("safety", rows) == []
    (found,) = of("safety", [{"time_s": 1.0, "nsfw": 0.97123456}, {"time_s": 2.0, "nsfw": 0.6}])
    assert (found["name"], found["score"], found["ranges"]) == ("not safe for work", 0.9712, [span(1, 3)])


def test_numbers_are_rounded() -> None:
    (found,) = of("speech", [{"start_s": 5.960000000000004, "end_s": 7.1200000000000045}])
    assert json.dumps(found["ranges"]) == '[{"start_s": 5.96, "end_s": 7.12}]'


def test_a_rule_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="form 'poem': it is one of sightings, ranges, cuts, hidden"):
        InsightRule.from_dict({"kind": "x", "form": "poem"})
