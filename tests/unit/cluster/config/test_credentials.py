"""Where the clouds' keys come from."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from autoscaler.errors import KeyRefused
from cluster.config.credentials import runpod_key, vastai_key

Find = Callable[[Mapping[str, str], Path], str]
CASES: list[tuple[Find, str, str, str]] = [
    (runpod_key, "RUNPOD_API_KEY", ".runpod/config.toml", '[default]\napi_key = "stored"\n'),
    (vastai_key, "VAST_API_KEY", ".config/vastai/vast_api_key", "stored\n"),
    (vastai_key, "VAST_API_KEY", ".vast_api_key", "stored"),
]


@pytest.mark.parametrize(("find", "variable", "file", "content"), CASES)
def test_the_variable_comes_first_and_the_stored_key_second(
    find: Find, variable: str, file: str, content: str, tmp_path: Path
) -> None:
    with pytest.raises(KeyRefused, match=variable):
        find({}, tmp_path)
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(content)
    assert find({}, tmp_path) == "stored"
    assert find({variable: "given"}, tmp_path) == "given"


@pytest.mark.parametrize("content", ["", "not toml", "default = 7", "[other]\napi_key = 'x'", "[default]\napi_key = 7"])
def test_a_file_without_a_key_is_none(content: str, tmp_path: Path) -> None:
    (tmp_path / ".runpod").mkdir()
    (tmp_path / ".runpod/config.toml").write_text(content)
    with pytest.raises(KeyRefused):
        runpod_key({}, tmp_path)
