"""What the head spares itself exists under these names in the installed Ray, and takes nothing from anybody."""

import asyncio
import importlib.util
import os
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray
from ray._private import ray_constants

import cluster.ray_patches.head_process
from cluster.ray_patches import quiet_settings
from cluster.ray_patches.autoscaler_monitor import refresh_when_changed
from cluster.ray_patches.dashboard import look

with warnings.catch_warnings(action="ignore"):  # Serve's own
    from cluster.ray_patches.start_head import narrowed

RAY = Path(ray.__file__).parent


@pytest.fixture(scope="module")
def names_of_ray() -> bytes:
    """All that Ray's processes read by name: their Python sources and the programs of its core."""
    sources = [RAY / "_private/ray_constants.py", RAY / "serve/_private/constants.py"]
    sources += [*RAY.glob("dashboard/consts.py"), *RAY.glob("dashboard/modules/**/*.py")]
    programs = [RAY / "core/src/ray/raylet/raylet", RAY / "core/src/ray/gcs/gcs_server"]
    return b"\n".join(path.read_bytes() for path in (*sources, *programs))


@pytest.mark.parametrize(
    "name", [name for name in quiet_settings.QUIET | quiet_settings.SMALL if not name.startswith("MALLOC_")]
)
def test_ray_knows_the_name(name: str, names_of_ray: bytes) -> None:
    # Its core reads `RAY_` and the name of the setting.
    assert name.encode() in names_of_ray or name.removeprefix("RAY_").encode() in names_of_ray


@pytest.mark.parametrize("module", quiet_settings.DASHBOARD_MODULES)
def test_the_dashboard_has_the_module(module: str) -> None:
    sources = (path.read_text(encoding="utf-8") for path in RAY.glob("dashboard/modules/**/*.py"))
    assert any(f"class {module}(SubprocessModule" in source for source in sources)


def test_the_dashboard_is_started_through_ours_and_told_its_modules() -> None:
    script = RAY / "dashboard/dashboard.py"
    command = narrowed(["python", str(script), "--port=1"], ray_constants.PROCESS_TYPE_DASHBOARD)
    assert command[:5] == ["python", "-m", "cluster.ray_patches.dashboard", str(script), "--port=1"]
    assert "--disable-frontend" not in command, "without its page the dashboard opens no port, and takes no jobs"
    options = script.read_text(encoding="utf-8")
    assert all(option.split("=")[0] in options for option in command[5:])


def test_rays_autoscaler_is_started_through_ours() -> None:
    command = ["python", "-u", str(RAY / "autoscaler/v2/monitor.py"), "--gcs-address=1"]
    assert Path(command[2]).is_file()
    started = narrowed(command, ray_constants.PROCESS_TYPE_MONITOR)
    assert started == [*command[:2], "-m", "cluster.ray_patches.autoscaler_monitor", *command[2:]]


def test_everything_else_starts_as_ray_wants() -> None:
    assert narrowed(["gcs_server", "--port=1"], ray_constants.PROCESS_TYPE_GCS_SERVER) == ["gcs_server", "--port=1"]


def test_serve_does_without_pandas_and_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pandas", raising=False)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    cluster.ray_patches.head_process.spare_serve()
    with pytest.raises(ModuleNotFoundError, match="does without pandas"):
        exec("import pandas", {"__name__": "ray.serve._private.utils"})
    assert importlib.util.find_spec("pandas") is not None
    exec("import colorsys", {"__name__": "ray.serve._private.utils"})


def test_serve_is_written_to_do_without_pandas() -> None:
    source = (RAY / "serve/_private/utils.py").read_text(encoding="utf-8")
    assert "try:\n    import pandas as pd\nexcept ImportError:" in source


class Reader:
    """Ray's reader of the configuration, as far as it is asked."""

    def __init__(self, path: Path) -> None:
        self._config_file_path, self.reads = path, 0


def test_the_configuration_is_read_when_it_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(reader: Reader) -> None:
        reader.reads += 1

    monkeypatch.setattr("cluster.ray_patches.autoscaler_monitor._read", read)
    path = tmp_path / "autoscaling.yaml"
    path.write_text("a: 1", encoding="utf-8")
    reader = Reader(path)
    counts = []
    for change in (False, False, True, False):
        if change:
            path.write_text("a: 2", encoding="utf-8")
            os.utime(path, ns=(1, 1))
        refresh_when_changed(reader)
        counts.append(reader.reads)
    assert counts == [1, 1, 2, 2]


class Module:
    """A module of the dashboard, as far as it is asked."""

    def __init__(self) -> None:
        self.process, self.asked = SimpleNamespace(exitcode=None), 0


def test_the_dashboard_asks_its_modules_rarely_and_sees_a_dead_one_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask(module: Module) -> None:
        module.asked += 1

    async def looks() -> list[int]:
        module, counts = Module(), []
        for number in range(62):
            module.process.exitcode = 1 if number == 61 else None
            await look(module)
            counts.append(module.asked)
        return counts

    monkeypatch.setattr("cluster.ray_patches.dashboard._ask", ask)
    assert asyncio.run(looks()) == [1] * 30 + [2] * 30 + [3, 4]


def test_the_dashboards_own_files_lie_in_rays_directory(tmp_path: Path) -> None:
    """Told to end, it removes nothing: Ray's directory is removed with the cluster."""
    script = tmp_path / "dashboard.py"
    script.write_text("from multiprocessing.util import get_temp_dir; print(get_temp_dir(), flush=True)\n")
    (tmp_path / "ray").mkdir()
    command = [
        sys.executable,
        "-m",
        "cluster.ray_patches.dashboard",
        str(script),
        "--port=1",
        f"--temp-dir={tmp_path / 'ray'}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert Path(done.stdout.strip()).parent == tmp_path / "ray"
