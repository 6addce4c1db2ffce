"""What is known of analyzers before a model is loaded: names, lanes, options."""

import pickle
from typing import Any

import pytest

from pipelines import analyzers
from pipelines.analyzers import (
    analyzer_names,
    check_analyzers,
    check_options,
    default_analyzers,
    describe,
    lane_of,
    load_analyzer,
)
from pipelines.errors import InvalidOption, MissingPackage, UnknownAnalyzer


def test_every_analyzer_is_described() -> None:
    for name in analyzer_names():
        description = describe(name)
        assert description.summary
        assert description.cost_hint > 0
        assert lane_of(name) == description.lane
        for option in description.options.values():
            assert option.accepts(option.default)
            assert option.allowed
    assert check_analyzers(default_analyzers()) == ("labels", "scenes")
    with pytest.raises(UnknownAnalyzer, match="choose from: labels, scenes"):
        lane_of("faces")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("labels", {"fps": 0}, "labels.fps = 0: allowed: a number above 0 up to 120"),
        ("labels", {"fps": float("nan")}, "labels.fps = nan: allowed"),
        ("labels", {"fps": "2"}, "labels.fps = '2': allowed"),
        ("labels", {"top_k": 2.5}, "labels.top_k = 2.5: allowed: a whole number from 1 to 1000"),
        ("labels", {"top_k": True}, "labels.top_k = True: allowed"),
        ("labels", {"model": "../../x.pth"}, "labels.model = '../../x.pth': allowed: efficientnet-lite0, or"),
        ("scenes", {"fps": 2}, "scenes.fps = 2: its options are: threshold"),
    ],
)
def test_options_are_checked(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        check_options(name, options)
    assert str(caught.value).startswith(message)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert (caught.value.analyzer, caught.value.option) == (name, next(iter(options)))


def test_good_options_pass_as_the_analyzer_takes_them() -> None:
    assert check_options("labels", {"top_k": 3.0, "fps": 0.5}) == {"top_k": 3, "fps": 0.5}
    assert check_options("scenes", {}) == {}


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analyzers, "find_spec", lambda name: None)
    with pytest.raises(MissingPackage, match=r"analyzer 'scenes' needs torch: pip install 'aima\[worker\]'"):
        load_analyzer("scenes")
