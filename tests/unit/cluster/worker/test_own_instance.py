"""A rented machine ends itself at its cloud, which may refuse or not answer."""

import pytest

from cluster.worker.self_termination import OwnInstance, detect, end
from tests.support.clouds.ending_cloud import ending_cloud


class Ended(Exception):
    """What a cloud does to the process, for want of a cloud."""


def ends_after(own: OwnInstance, pauses: int) -> list[float]:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == pauses:
            raise Ended

    with pytest.raises(Ended):
        end(own, sleep)
    return slept


def test_each_cloud_is_known_by_what_it_injects() -> None:
    runpod = detect({"RUNPOD_POD_ID": "p1", "RUNPOD_API_KEY": "k"})
    assert runpod == OwnInstance("runpod", "p1", "https://api.runpod.io/v2/pods/p1", "k")
    vast = detect({"CONTAINER_ID": "7", "CONTAINER_API_KEY": "k"})
    assert vast == OwnInstance("vastai", "7", "https://console.vast.ai/api/v0/instances/7/", "k")
    assert detect({"PATH": "/bin"}) is None


def test_a_refusal_is_tried_again_and_success_too_until_the_machine_is_gone() -> None:
    with ending_cloud() as cloud:
        cloud.answers[:] = [403, 500, 204]
        own = detect({"RUNPOD_POD_ID": "p1", "RUNPOD_API_KEY": "k", "RUNPOD_API_BASE_URL": cloud.url})
        assert own is not None
        assert ends_after(own, 4) == [2.0, 4.0, 8.0, 16.0]
        assert cloud.asked == [("/v2/pods/p1", "Bearer k", "aima-worker")] * 4


def test_a_cloud_that_does_not_answer_is_asked_again(capfd: pytest.CaptureFixture[str]) -> None:
    own = detect({"CONTAINER_ID": "7", "CONTAINER_API_KEY": "secret", "VAST_API_BASE_URL": "http://127.0.0.1:9"})
    assert own is not None
    assert ends_after(own, 8)[-1] == 60.0
    said = capfd.readouterr().err
    assert "no answer" in said
    assert "secret" not in said
