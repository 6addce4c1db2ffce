from pathlib import Path

import pytest

from cluster.config.loader import ConfigError, load_settings
from cluster.config.state_directory import ClusterCard, StateDir
from cluster.head.start import ray_environment, ray_patches


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "aima.yaml"
    path.write_text(text)
    return path


def test_embedded_defaults_follow_the_state_dir(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, f"state_dir: {tmp_path}/state"), {})
    assert settings.database_url == f"sqlite:///{tmp_path}/state/aima.db"
    assert settings.storage_uri == f"{tmp_path}/state/storage"
    assert settings.node_types["gpu"].gpus == 1


def test_environment_wins_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "http: {port: 9000}\nlocal: {price_usd_per_hour: 0.5}")
    settings = load_settings(path, {"AIMA_HTTP__PORT": "9001"})
    assert settings.http.port == 9001
    assert settings.local.price_usd_per_hour == 0.5


@pytest.mark.parametrize("text", ["ray: {patches: off}", "ray: {patches: 'off'}", "ray: {patches: no}"])
def test_yaml_reads_off_as_false_and_means_off(tmp_path: Path, text: str) -> None:
    assert load_settings(write(tmp_path, text), {}).ray.patches == "off"
    assert load_settings(write(tmp_path, ""), {"AIMA_RAY__PATCHES": "off"}).ray.patches == "off"
    kept = load_settings(write(tmp_path, text), {}).model_dump_json()
    assert load_settings(write(tmp_path, kept), {}).ray.patches == "off", "the head reads what `aima up` has written"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "state_dir: /tmp\nhttp:\n  prot: 1\n",
            ["aima.yaml: line 3", "http.prot = 1", "allowed here: ", "host, ", "port"],
        ),
        ("sclaing: {}\n", ["aima.yaml: line 1", "sclaing", "scaling"]),
        ("http:\n  port: many\n", ["line 2", "http.port = 'many'", "integer"]),
        (
            "scaling:\n  idle_limit_s: 0\n",
            ["line 2", "scaling.idle_limit_s = 0", "greater than or equal to 1"],
        ),
        ("node_types:\n  gpu:\n    gpu: 1\n", ["line 3", "node_types.gpu.gpu", "gpus"]),
        ("node_types:\n  gpu:\n    clouds: [moon]\n", ["line 3", "'moon'", "'local'"]),
        ("budgets:\n  per_day_usd: -1\n", ["line 2", "budgets.per_day_usd = -1", "greater than or equal to 0"]),
        ("budgets:\n  clouds:\n    moon: {}\n", ["line 3", "moon", "'local'"]),
        ("budgets:\n  clouds:\n    local: {per_week_usd: 1}\n", ["line 3", "per_week_usd", "per_day_usd"]),
        ("node_types:\n  gpu:\n    clouds: []\n", ["line 3", "node_types.gpu.clouds", "at least 1"]),
        ("node_types:\n  gpu:\n    min_cuda: new\n", ["line 3", "node_types.gpu.min_cuda = 'new'", "pattern"]),
        ("node_types:\n  gpu:\n    trust: friends\n", ["line 3", "'friends'", "'own', 'secure' or 'community'"]),
        (
            "node_types:\n  gpu:\n    clouds: [local, runpod]\n",
            ["aima.yaml", "node_types.gpu.clouds names runpod", "set overlay.enabled: true", "overlay.image"],
        ),
        ("ray:\n  patches: on\n", ["line 2", "ray.patches = True", "'auto' or 'off'"]),
        (
            "ray:\n  without_patches: [pandas]\n",
            ["line 2", "ray.without_patches", "there is no patch pandas; there are serve_pacing"],
        ),
        ("- a\n", ["line 1", "key: value"]),
        ("a: [\n", ["not valid YAML"]),
    ],
)
def test_a_wrong_setting_is_refused_with_its_line_and_what_is_allowed(
    tmp_path: Path, text: str, says: list[str]
) -> None:
    with pytest.raises(ConfigError) as error:
        load_settings(write(tmp_path, text), {})
    for words in says:
        assert words in str(error.value)


def test_a_wrong_variable_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"AIMA_HTTP__PORT: http.port = 70000"):
        load_settings(write(tmp_path, ""), {"AIMA_HTTP__PORT": "70000"})


def test_an_unknown_variable_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="AIMA_STAET_DIR: staet_dir"):
        load_settings(write(tmp_path, ""), {"AIMA_STAET_DIR": "/tmp"})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing.yaml: cannot be read: No such file"):
        load_settings(tmp_path / "nothing.yaml", {})


RENT = "overlay: {enabled: true, image: a, port: 8000}\n"


@pytest.mark.parametrize(
    ("text", "lower", "higher"),
    [
        (
            "scaling: {join_timeout_s: 1800, max_age_s: 1800}",
            "scaling.join_timeout_s = 1800",
            "scaling.max_age_s = 1800",
        ),
        ("scaling: {join_timeout_s: 30000}", "scaling.join_timeout_s = 30000", "scaling.max_age_s = 21600"),
        ("scaling: {drain_s: 22000}", "scaling.drain_s = 22000", "scaling.max_age_s = 21600"),
        ("overlay: {grace_s: 86400}", "overlay.grace_s = 86400", "scaling.max_age_s = 21600"),
        ("overlay: {grace_s: 60}", "overlay.silence_s = 90", "overlay.grace_s = 60"),
        ("overlay: {silence_s: 600}", "overlay.silence_s = 600", "overlay.grace_s = 600"),
        ("budgets: {commitment_s: 1e5}", "budgets.commitment_s = 100000", "scaling.max_age_s = 21600"),
        (f"{RENT}http: {{port: 8000}}", "http.port = 8000", "overlay.port = 8000"),
        (
            f"{RENT}http: {{port: 0}}\nnode_types: {{cpu: {{gpus: 0, clouds: [vastai]}}}}",
            "cpu.gpus = 0",
            "cpu.clouds = vastai",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused_by_both_names(
    tmp_path: Path, text: str, lower: str, higher: str
) -> None:
    with pytest.raises(ConfigError) as error:
        load_settings(write(tmp_path, text), {})
    message = str(error.value)
    assert f"{lower} and {'node_types.' if '.clouds' in higher else ''}{higher} contradict each other" in message
    assert any(way_out in message for way_out in (" Set ", " Change ", " Raise "))


@pytest.mark.parametrize("join_timeout_s", [10.0, 600.0, 1800.0, 7200.0])
def test_everybody_waits_for_a_machine_as_long_as_it_may_take_to_join(tmp_path: Path, join_timeout_s: float) -> None:
    settings = load_settings(write(tmp_path, f"scaling: {{join_timeout_s: {join_timeout_s}}}"), {})
    purchase_s = 60.0
    assert settings.scaling.join_window_s > join_timeout_s + purchase_s
    card = ClusterCard("aima-c1", "127.77.0.1", 10_000, "http://127.0.0.1:8000", "http://127.77.0.1:10009", 0.0)
    told = ray_environment(StateDir(tmp_path), card, tmp_path, settings, ray_patches(settings))
    assert float(told["RAY_AUTOSCALER_RECONCILE_ALLOCATE_STATUS_TIMEOUT_S"]) >= settings.scaling.join_window_s
