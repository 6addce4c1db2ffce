"""The analyzers by name: ours, those of installed packages, and "module:Class".

Users add theirs from outside by the entry point group "aima.analyzers", or as "module:Class" (brightness.py shows how).
Listing, describing and checking imports no model.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Any, cast

from pipelines.analyzers.contract import Analyzer, AudioAnalyzer, Description, Lane
from pipelines.analyzers.options import checked
from pipelines.errors import AnalyzerFault, MissingPackage, UnknownAnalyzer

_GROUP = "aima.analyzers"
# The class of each name.
ANALYZERS: dict[str, str] = {
    "labels": "pipelines.analyzers.labels:Labels",
    "scenes": "pipelines.analyzers.scenes:Scenes",
    "objects": "pipelines.analyzers.objects:Objects",
    "embeddings": "pipelines.analyzers.embeddings:Embeddings",
    "text": "pipelines.analyzers.text:Text",
    "safety": "pipelines.analyzers.safety:Safety",
    "speech": "pipelines.analyzers.speech:Speech",
    "transcript": "pipelines.analyzers.transcript:Transcript",
    "brightness": "pipelines.analyzers.brightness:Brightness",
}


def analyzer_names() -> tuple[str, ...]:
    """All names: ours, and those of installed packages."""
    return tuple(_known())


def default_analyzers() -> tuple[str, ...]:
    """The selection when none is named."""
    return ("labels", "scenes")


def check_analyzers(names: Iterable[str]) -> tuple[str, ...]:
    """The names without repeats, in order; "module:Class" is taken as it is. Raises UnknownAnalyzer."""
    checked_names = tuple(dict.fromkeys(names))
    for name in checked_names:
        if ":" not in name and name not in _known():
            raise UnknownAnalyzer(name, _known())
    return checked_names


def own_names(names: Iterable[str]) -> tuple[str, ...]:
    """What the analyzers call themselves, and so their parts: of "module:Class" it is the class's `name`.

    Raises UnknownAnalyzer, also where two of them would write the same parts.
    """
    found: dict[str, str] = {}
    for name in check_analyzers(names):
        own = cast(str, _class_of(name).name)
        if (other := found.setdefault(own, name)) != name:
            raise UnknownAnalyzer(name, _known(), f"its class is named {own!r}, as that of {other!r}: rename one")
    return tuple(found)


def describe(name: str) -> Description:
    """What is known of an analyzer. Raises UnknownAnalyzer."""
    return cast(Description, _class_of(name).description)


def lane_of(name: str) -> Lane:
    """Which machines run this analyzer. Raises UnknownAnalyzer."""
    return describe(name).lane


def check_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options, as the analyzer takes them. Raises UnknownAnalyzer; InvalidOption, which names what is allowed."""
    return checked(name, describe(name).options, options)


def load_analyzer(name: str, **options: Any) -> Analyzer | AudioAnalyzer:
    """Create an analyzer (its model is loaded by `load`).

    Raises UnknownAnalyzer, InvalidOption, MissingPackage; AnalyzerFault for a class that lacks what is asked of it.
    """
    values = check_options(name, options)
    description = describe(name)
    for package in description.packages:
        if find_spec(package) is None:
            raise MissingPackage(name, package, description.extra)
    analyzer = _class_of(name)(**values)
    for wanted in ("version", "schema"):
        _require(analyzer, wanted)
    return cast(Analyzer | AudioAnalyzer, analyzer)


def _require(analyzer: Any, wanted: str) -> None:
    try:
        getattr(analyzer, wanted)
    except AttributeError as error:
        raise AnalyzerFault(analyzer.name, f"it has no `{error.name or wanted}`") from error


@cache
def _known() -> dict[str, str]:
    theirs = {point.name: point.value for point in entry_points(group=_GROUP)}
    return theirs | ANALYZERS  # nobody replaces ours by accident


@cache
def _class_of(name: str) -> Any:
    """The class behind a name. Raises UnknownAnalyzer, also where "module:Class" leads nowhere."""
    check_analyzers([name])
    module, _, attribute = _known().get(name, name).partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except (ModuleNotFoundError, AttributeError) as error:
        raise UnknownAnalyzer(name, _known(), str(error)) from error
    if lacking := [wanted for wanted in ("name", "description") if not hasattr(found, wanted)]:
        raise UnknownAnalyzer(name, _known(), f"its class lacks {' and '.join(lacking)}")
    if ":" not in name and found.name != name:
        raise UnknownAnalyzer(name, _known(), f"its class is named {found.name!r}: give both the same name")
    return found
