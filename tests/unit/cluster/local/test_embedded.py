"""How often `aima up` tries to start a lost head again."""

from pathlib import Path

import pytest

from autoscaler.names import is_unguessable, launch_name
from cluster.config.schema import Settings
from cluster.config.state_directory import ClusterCard, StateDir
from cluster.local import embedded
from tests.support.clouds.left_behind import LeftBehind

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


def started(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> tuple[ClusterCard, str]:
    """What `aima up` gives and says, without the processes."""
    monkeypatch.setattr(embedded, "_start", lambda *_arguments: None)
    said: list[str] = []
    return embedded.up(settings, said.append), "\n".join(said)


def test_an_installation_keeps_its_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, state = Settings(state_dir=tmp_path).resolved(), StateDir(tmp_path)
    card, _said = started(settings, monkeypatch)
    assert is_unguessable(card.cluster_id)
    for lose in (
        lambda: embedded.remove(state, card),  # as after a start that failed
        lambda: state.card_path.write_text("{"),
        lambda: state.card_path.unlink(),
        lambda: embedded.down(state),
    ):
        lose()
        again, _said = started(settings, monkeypatch)
        assert again.cluster_id == card.cluster_id
    other, _said = started(Settings(state_dir=tmp_path / "other").resolved(), monkeypatch)
    assert other.cluster_id != card.cluster_id


def test_up_tells_what_an_earlier_run_has_left_and_knows_it_by_its_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an older AIMA left it: no card, no kept id, only a ledger."""
    left = LeftBehind(tmp_path)
    left.state.prepare()
    name = launch_name(left.cluster_id, "gpu", "01234567")
    left.enter(name, "runpod", "bought", instance_id="pod-1", price_usd_per_hour=0.74)
    card, said = started(Settings(state_dir=left.state.path).resolved(), monkeypatch)
    assert card.cluster_id == left.cluster_id
    assert f"{name} at runpod (id pod-1, 0.74 USD/h)" in said
