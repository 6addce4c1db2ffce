"""Settings that do not fit together: each finding names the settings, their values and the way out."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

_AGE, _GRACE = "scaling.max_age_s", "overlay.grace_s"
# The first of two bounds has to stay below the second.
_IN_ORDER = (
    ("scaling.join_timeout_s", _AGE, "a machine would reach its maximum age before it has to join"),
    ("scaling.drain_s", _AGE, "a machine's work could go on for longer than the machine may live"),
    ("budgets.commitment_s", _AGE, "a purchase would have to leave room for more time than a machine may live"),
    (_GRACE, _AGE, "a machine would wait for a lost head for longer than it may live"),
    ("overlay.silence_s", _GRACE, "a worker would end itself before it gives up a silent link and dials again"),
)


def contradictions(settings: Mapping[str, Any], rented: Collection[str]) -> Iterator[str]:
    """What is wrong with settings that are right one by one. `rented`: the clouds whose machines are strangers'."""
    yield from _bounds(settings)
    yield from _ports(settings)
    for name, shape in settings["node_types"].items():
        yield from _clouds(name, shape, settings["overlay"], rented)


def _bounds(settings: Mapping[str, Any]) -> Iterator[str]:
    for lower, higher, consequence in _IN_ORDER:
        low, high = _value(settings, lower), _value(settings, higher)
        if low >= high:
            yield (
                f"{lower} = {low:g} and {higher} = {high:g} contradict each other: {consequence}."
                f" Set {lower} below {high:g}, or {higher} above {low:g}"
            )


def _ports(settings: Mapping[str, Any]) -> Iterator[str]:
    port, overlay = settings["http"]["port"], settings["overlay"]
    if overlay["enabled"] and port and port == overlay["port"]:
        yield (
            f"http.port = {port} and overlay.port = {port} contradict each other: both would listen there."
            " Change one of them (0 takes a free one)"
        )


def _clouds(name: str, shape: Mapping[str, Any], overlay: Mapping[str, Any], rented: Collection[str]) -> Iterator[str]:
    strangers = [cloud for cloud in shape["clouds"] if cloud in rented]
    if strangers and not (overlay["enabled"] and overlay["image"]):
        yield (
            f"node_types.{name}.clouds names {strangers[0]}, whose machines join through the overlay:"
            " set overlay.enabled: true, overlay.public_host to what they can dial, and overlay.image"
        )
    elif not shape["gpus"] and len(strangers) == len(shape["clouds"]):
        yield (
            f"node_types.{name}.gpus = 0 and node_types.{name}.clouds = {', '.join(strangers)} contradict each other:"
            " these clouds sell no machine without a GPU, and its work would wait for ever."
            " Raise gpus, or add local or kubernetes to clouds"
        )


def _value(settings: Mapping[str, Any], name: str) -> float:
    section, key = name.split(".")
    return float(settings[section][key])
