from pathlib import Path

import pytest

from cluster.config.loader import ConfigError, load_settings


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


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "state_dir: /tmp\nhttp:\n  prot: 1\n",
            ["aima.yaml: line 3", "http.prot = 1", "allowed here: host, port"],
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
