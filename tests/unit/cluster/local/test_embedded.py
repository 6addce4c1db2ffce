"""How often `aima up` tries to start a lost head again."""

from pathlib import Path

import pytest

from cluster.config.schema import Settings
from cluster.config.state_directory import ClusterCard, StateDir
from cluster.local import embedded

CARD = ClusterCard("aima-none", "127.77.0.9", 10_512, "http://127.0.0.1:9", "http://127.0.0.1:9", 0.0)


@pytest.mark.parametrize("failures", [0, 1, 2])
def test_a_head_whose_start_fails_once_is_started_again_and_then_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    settings = Settings(state_dir=tmp_path).resolved()
    StateDir(tmp_path).write_card(CARD)
    starts = []

    def start(*_arguments: object) -> None:
        starts.append(1)
        if len(starts) <= failures:
            raise embedded.ClusterError("its raylet found its socket taken")

    monkeypatch.setattr(embedded, "_start", start)
    monkeypatch.setattr(embedded, "_comes_back", lambda _state, _card: False)
    if failures == 2:
        with pytest.raises(embedded.ClusterError, match=r"socket taken[\s\S]*aima down"):
            embedded.up(settings)
    else:
        assert embedded.up(settings) == CARD
    assert len(starts) == min(failures + 1, 2)
    assert StateDir(tmp_path).read_card() == CARD


def test_clusters_that_start_at_once_look_for_their_ports_in_different_places(tmp_path: Path) -> None:
    """None of them has bound a port yet, so the same ones look free to all."""
    settings = [Settings(state_dir=tmp_path / name).resolved() for name in ("one", "other")]
    first, second, first_again = (embedded._new_card(each).base_port for each in (*settings, settings[0]))
    assert first != second
    assert first == first_again
