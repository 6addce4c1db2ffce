"""What a rented machine is told, read as the cloud would show it."""

from autoscaler.worker_command import START_COMMAND, HubAddress, WorkerBounds, worker_environment

HUB = HubAddress("hub.example.org", 2222, "SHA256:" + "k" * 43)


def environment(name: str = "aima-1-gpu-a") -> dict[str, str]:
    return worker_environment(name, HUB, "one-time", WorkerBounds(join_timeout_s=600, max_age_s=21_600))


def test_the_machine_learns_its_name_the_hub_and_its_bounds() -> None:
    assert environment() == {
        "AIMA_INSTANCE": "aima-1-gpu-a",
        "AIMA_HUB": "hub.example.org:2222",
        "AIMA_HUB_KEY": "SHA256:" + "k" * 43,
        "AIMA_JOIN_TOKEN": "one-time",
        "AIMA_JOIN_TIMEOUT_S": "600",
        "AIMA_MAX_AGE_S": "21600",
    }
    assert START_COMMAND == ("python", "-m", "cluster.worker.local_entrypoint")
