"""Parts are whole or absent, and written again without harm."""

from pathlib import Path

import pyarrow as pa
import pytest

from pipelines.records import sinks


def table(*values: int) -> pa.Table:
    return pa.table({"segment": pa.array(values, pa.int32())})


def test_parts_come_back_in_the_order_of_segments(tmp_path: Path) -> None:
    directory = f"file://{tmp_path}/labels"
    for segment in (10, 2, 0):
        uri = sinks.write_part(table(segment), directory, segment)
        assert uri == f"{directory}/part-{segment:05d}.parquet"
    assert sinks.read_parts(directory)["segment"].to_pylist() == [0, 2, 10]
    assert sinks.part_exists(directory, 2)
    assert not sinks.part_exists(directory, 3)


def test_a_retry_overwrites(tmp_path: Path) -> None:
    sinks.write_part(table(1, 1), str(tmp_path), 1)
    sinks.write_part(table(1), str(tmp_path), 1)
    assert sinks.read_parts(str(tmp_path)).num_rows == 1


def test_a_failed_write_leaves_the_old_part_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sinks.write_part(table(1), str(tmp_path), 1)

    def full(handle: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        sinks.write_part(table(2, 2), str(tmp_path), 1)
    assert [p.name for p in tmp_path.iterdir()] == ["part-00001.parquet"]
    assert sinks.read_parts(str(tmp_path)).num_rows == 1


def test_no_parts_is_an_error_not_an_empty_result(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no results"):
        sinks.read_parts(str(tmp_path / "nothing"))


def test_a_part_is_finished_only_for_its_own_task(tmp_path: Path) -> None:
    directory = str(tmp_path / "labels")
    assert sinks.finished_part(directory, 0, "abc") is None
    sinks.write_part(table(1), directory, 0, {"frames": "7"})
    assert sinks.finished_part(directory, 0, "abc") is None  # written, but not to its end
    sinks.write_part(table(1), directory, 0, {"frames": "7", "task": "abc"})
    found = sinks.finished_part(directory, 0, "abc")
    assert found is not None
    assert found["frames"] == "7"
    assert sinks.finished_part(directory, 0, "of another version") is None
    (tmp_path / "labels" / "part-00000.parquet").write_bytes(b"rotten")
    assert sinks.finished_part(directory, 0, "abc") is None


def test_the_same_records_are_the_same_bytes(tmp_path: Path) -> None:
    for folder in "ab":
        sinks.write_part(table(1, 2, 3), str(tmp_path / folder), 0, {"task": "abc"})
    first, second = (sinks.read_file(str(tmp_path / folder), "part-00000.parquet") for folder in "ab")
    assert first == second
