"""The analyzers, as the service is told of them."""

from collections.abc import Collection

from pipelines.analyzers import analyzer_names, check_options, describe
from serve_apps.analyses import Lane
from serve_apps.catalog import AnalyzerInfo, Catalog, OptionInfo


def catalog(lanes: Collection[Lane]) -> Catalog:
    """All analyzers, each on its lane; where a deployment has no workers of that lane, on one that it has."""
    return Catalog({name: _info(name, lanes) for name in analyzer_names()}, check_options)


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
