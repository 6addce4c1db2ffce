"""The analyzers, as the service is told of them."""

import posixpath
from collections.abc import Collection, Mapping
from typing import Any

from pipelines.analyzers.options import ModelFile
from pipelines.analyzers.registry import analyzer_names, check_options, describe
from pipelines.errors import InvalidOption
from serve_apps.analyses import Lane
from serve_apps.api.analyzer_catalog import AnalyzerInfo, Catalog, OptionInfo


def catalog(lanes: Collection[Lane], model_places: Collection[str] = ()) -> Catalog:
    """All analyzers, each on its lane; where a deployment has no workers of that lane, on one that it has.

    Requests may name a model's file only below `model_places`: it is read with the workers' own rights.
    """

    def check(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
        values = check_options(name, given)
        for option, known in describe(name).options.items():
            if isinstance(known, ModelFile) and (place := known.place(values.get(option, ""))):
                _check_place(name, option, place, model_places)
        return values

    return Catalog({name: _info(name, lanes) for name in analyzer_names()}, check)


def _check_place(analyzer: str, option: str, place: str, allowed: Collection[str]) -> None:
    # As text: the file lies on a worker, not here. A query names another endpoint, dots another folder.
    plain = "?" not in place and ".." not in place.split("/")
    if not plain or not any(_is_below(place, root) for root in allowed):
        where = ", ".join(allowed) or "nowhere, unless the deployment's models.places says where"
        raise InvalidOption(analyzer, option, place, f"its file may lie below: {where}")


def _is_below(place: str, root: str) -> bool:
    known = place if "://" in place else posixpath.normpath(place)
    return known.startswith(f"{root.rstrip('/')}/")


def _info(name: str, lanes: Collection[Lane]) -> AnalyzerInfo:
    known = describe(name)
    lane = Lane(known.lane)
    return AnalyzerInfo(
        name=name,
        lane=lane if lane in lanes or not lanes else next(iter(lanes)),
        summary=known.summary,
        takes=known.takes,
        options={option: OptionInfo(o.default, o.allowed) for option, o in known.options.items()},
    )
