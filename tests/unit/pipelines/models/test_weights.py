"""Weights are what they should be, or an error that says why not."""

import hashlib
import os
from pathlib import Path

import pytest

from pipelines.models.weights import WeightsError, package_file, weights_file

DATA = b"weights" * 1000
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(DATA)
    return path


def test_a_local_file_is_checked(stored: Path) -> None:
    assert weights_file(str(stored)) == stored
    assert weights_file(f"{stored}#sha256={SHA256.upper()}") == stored
    with pytest.raises(WeightsError, match=f"its SHA-256 is {SHA256}, not 00"):
        weights_file(f"{stored}#sha256=00")
    with pytest.raises(WeightsError, match=r"nothing\.onnx: no such file"):
        weights_file(str(stored.with_name("nothing.onnx")))


def test_a_stored_object_is_fetched_once_and_again_when_it_changes(stored: Path, tmp_path: Path) -> None:
    cache, uri = tmp_path / "cache", stored.as_uri()
    first = weights_file(f"{uri}#sha256={SHA256}", cache)
    assert (first.parent, first.read_bytes()) == (cache, DATA)
    before = first.stat().st_mtime_ns
    assert weights_file(uri, cache) == first
    assert first.stat().st_mtime_ns == before
    stored.write_bytes(b"newer")
    os.utime(stored, (2e9, 2e9))
    assert weights_file(uri, cache).read_bytes() == b"newer"
    with pytest.raises(WeightsError, match="SHA-256"):
        weights_file(f"{uri}#sha256=00", tmp_path / "other")
    assert list((tmp_path / "other").iterdir()) == []
    with pytest.raises(WeightsError, match="no such object"):
        weights_file(f"{uri}.gone", cache)


def test_a_package_that_is_not_there_is_named() -> None:
    assert package_file("numpy", "__init__.py").name == "__init__.py"
    with pytest.raises(WeightsError, match=r"no_such_package is not installed, or has no model\.onnx"):
        package_file("no_such_package", "model.onnx")
