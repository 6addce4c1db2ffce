"""Whose a machine is, by its name alone."""

import pytest

from autoscaler.names import cluster_of, is_launch_of, is_unguessable, launch_name, new_cluster_id

TOKEN = "01234567"
UNGUESSABLE = "aima-effc4dba712d613b"  # as new_cluster_id makes them; every process collects the same tests


@pytest.mark.parametrize(
    "name", ["aima-c1", "aima-c1-gpu", "aima-c1-gpu-0123456", "aima-c1-gpu-0123456g", "aima-c10-gpu-01234567", "x", ""]
)
def test_a_name_that_only_looks_like_ours_is_not(name: str) -> None:
    assert is_launch_of("aima-c1", launch_name("aima-c1", "gpu", TOKEN))
    assert not is_launch_of("aima-c1", name)


@pytest.mark.parametrize("node_type", ["gpu", "gpu-large", "a-b-c", "gpu_large", "gpu.large", "-", "0123abcd"])
@pytest.mark.parametrize("cluster_id", ["aima", "aima-staging", "aima-staging-gpu", "aima-01234567", UNGUESSABLE])
def test_a_name_is_read_back_in_one_way_only(cluster_id: str, node_type: str) -> None:
    name = launch_name(cluster_id, node_type, TOKEN)
    assert cluster_of(name) == cluster_id
    assert is_launch_of(cluster_id, name)
    for other in ("", "aima", "aima-staging", "aima-staging-gpu", "aima-01234567", "aima-stag", f"{cluster_id}-gpu"):
        assert is_launch_of(other, name) == (other == cluster_id)


def test_a_cluster_ids_beginning_owns_nothing() -> None:
    assert not is_launch_of("aima", "aima-staging-gpu-0123abcd")
    assert not is_launch_of("", "-gpu-0123abcd")


def test_ids_cannot_be_guessed() -> None:
    ids = {new_cluster_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(is_unguessable(cluster_id) for cluster_id in ids)


@pytest.mark.parametrize("cluster_id", ["aima", "aima-staging", "aima-0123abcd", "", "AIMA-0123456789abcdef", "a b"])
def test_an_id_that_somebody_else_may_choose_too_is_seen(cluster_id: str) -> None:
    assert not is_unguessable(cluster_id)
