"""What is known of analyzers before a model is loaded: names, lanes, options."""

import pickle
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.analyzers import registry
from pipelines.analyzers.brightness import Brightness
from pipelines.analyzers.registry import (
    analyzer_names,
    check_analyzers,
    check_options,
    default_analyzers,
    describe,
    lane_of,
    load_analyzer,
    own_names,
)
from pipelines.errors import AnalyzerFault, InvalidOption, MissingPackage, UnknownAnalyzer
from pipelines.media.frames import FrameBatch
from pipelines.media.sampling import Segment


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
    with pytest.raises(UnknownAnalyzer, match="choose from: labels, scenes, "):
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
    monkeypatch.setattr(registry, "find_spec", lambda name: None)
    with pytest.raises(
        MissingPackage, match=r"analyzer 'scenes' needs torch: pip install 'aima-media\[worker\]'"
    ) as caught:
        load_analyzer("scenes")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


OWN = """
from pipelines.analyzers import registry
from pipelines.analyzers.brightness import Brightness

class Darkness(Brightness):
    name = "darkness"
"""


def test_users_bring_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_module.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    assert load_analyzer("own_module:Darkness", fps=2).name == "darkness"
    assert check_analyzers(["own_module:Darkness", "labels"]) == ("own_module:Darkness", "labels")
    with pytest.raises(UnknownAnalyzer, match=r"'own_module:Light' \(.*no attribute 'Light'\); choose from: labels"):
        load_analyzer("own_module:Light")
    with pytest.raises(UnknownAnalyzer, match="No module named 'nowhere'"):
        lane_of("nowhere:Light")
    points = [EntryPoint("darkness", "own_module:Darkness", "aima.analyzers"), EntryPoint("labels", "x:Y", "")]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    registry._known.cache_clear()
    try:
        assert "darkness" in analyzer_names()
        assert lane_of("darkness") == "cpu"
        assert describe("labels").lane == "gpu"
    finally:
        registry._known.cache_clear()
        registry._class_of.cache_clear()


def test_brightness_is_that_of_the_picture() -> None:
    analyzer = Brightness()
    with pytest.raises(RuntimeError, match="load"):
        analyzer.start(Segment(0, 0, 1))
    analyzer.load("cpu")
    run = analyzer.start(Segment(3, 0, 1))
    pixels = np.zeros((2, *analyzer.frame_size(720, 1280), 3), np.uint8)
    pixels[1, :, :64] = (255, 255, 255)
    run.add(FrameBatch(pixels, np.array([0.0, 0.5]), np.array([0, 12])))
    table = run.finish()
    assert table["mean"].to_pylist() == pytest.approx([0, 127.5], abs=0.01)
    assert table["deviation"].to_pylist() == pytest.approx([0, 127.5], abs=0.01)
    assert table["frame_index"].to_pylist() == [0, 12]
    assert set(table["segment"].to_pylist()) == {3}
    assert table.schema.metadata[b"unit:mean"] == b"BT.709 luma of R'G'B', 0 to 255"


FAULTY = """
import numpy as np
from pipelines.analyzers.contract import Description
from pipelines.analyzers.per_frame import PerFrameAnalyzer


class Faulty(PerFrameAnalyzer):
    name = "faulty"
    description = Description(summary="breaks its contract", takes="frames", lane="cpu", cost_hint=0.0)
    columns = (("value", __import__("pyarrow").float32()),)
    version = "1"

    def __init__(self):
        super().__init__(1.0)

    def analyse(self, pixels):
        return ANSWER


class Namesake(Faulty):
    pass


class Versionless(Faulty):
    version = property(lambda self: self.nowhere)
"""


def _faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str) -> str:
    module = f"faulty_{abs(hash(answer))}"
    (tmp_path / f"{module}.py").write_text(FAULTY.replace("ANSWER", answer))
    monkeypatch.syspath_prepend(tmp_path)
    return module


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("[]", "returned 0 results for 2 frames"),
        ("[[{'value': 1.0}]]", "returned 1 results for 2 frames"),
        ("[[], [], []]", "returned 3 results for 2 frames"),
        ("[[{'other': 1.0}] for _ in pixels]", "a row has 'other'; its columns are value"),
        ("[[{'value': 'many'}] for _ in pixels]", "its rows do not fit its columns"),
    ],
)
def test_what_breaks_the_contract_is_named_and_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, says: str
) -> None:
    analyzer: Any = load_analyzer(f"{_faulty(tmp_path, monkeypatch, answer)}:Faulty")
    analyzer.load("cpu")
    run = analyzer.start(Segment(0, 0.0, 10.0))

    def analyse() -> None:
        run.add(FrameBatch(np.zeros((2, 4, 4, 3), np.uint8), np.array([0.0, 1.0]), np.array([0, 1])))
        run.finish()

    with pytest.raises(AnalyzerFault, match=says) as caught:
        analyse()
    assert "analyzer 'faulty'" in str(caught.value)


def test_a_class_that_lacks_what_is_asked_of_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = _faulty(tmp_path, monkeypatch, "[[] for _ in pixels]")
    with pytest.raises(AnalyzerFault, match="analyzer 'faulty': it has no `nowhere`"):
        load_analyzer(f"{module}:Versionless")
    assert own_names([f"{module}:Faulty", "labels"]) == ("faulty", "labels")
    with pytest.raises(UnknownAnalyzer, match="its class is named 'faulty', as that of"):
        own_names([f"{module}:Faulty", f"{module}:Namesake"])


def test_an_entry_point_and_its_class_have_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = _faulty(tmp_path, monkeypatch, "[]")
    monkeypatch.setattr(registry, "entry_points", lambda group: [EntryPoint("other", f"{module}:Faulty", group)])
    registry._known.cache_clear()
    try:
        with pytest.raises(UnknownAnalyzer, match="its class is named 'faulty': give both the same name"):
            describe("other")
    finally:
        registry._known.cache_clear()
        registry._class_of.cache_clear()
