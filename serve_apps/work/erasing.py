"""Removing an analysis for good: its objects, its documents, the uploads that only it used, then its rows.

In this order: after a crash half-way, the rows are still there and the rest is tried again.
"""

from sqlalchemy import Engine, String, cast, select

from serve_apps.api.context import Service
from serve_apps.store.analysis_store import Analysis
from serve_apps.store.tables import analyses, reading


def erase_analysis(service: Service, analysis: Analysis) -> None:
    """Remove everything about a finished analysis. Harmless to repeat."""
    service.objects.erase(f"{service.objects.base_uri}/analyses/{analysis.id}")
    service.documents.erase(analysis.id)
    for uri in analysis.media:
        upload = service.uploads.by_uri(uri)
        if upload is not None and not _used_elsewhere(service.store.engine, uri, analysis.id):
            service.uploads.erase(upload)
    service.lifecycle.forget(analysis.id)


def _used_elsewhere(engine: Engine, uri: str, analysis_id: str) -> bool:
    a = analyses.c
    naming = cast(a.media, String).contains(uri.rsplit("/", 2)[-2], autoescape=True)
    with reading(engine) as connection:
        return connection.execute(select(a.id).where(naming, a.id != analysis_id).limit(1)).first() is not None


def erase_expired(service: Service) -> int:
    """Erase what is past its time, and uploads that nobody completed; returns how many of both."""
    expired = service.lifecycle.expired()
    for analysis_id in expired:
        if (analysis := service.store.get(analysis_id)) is not None:
            erase_analysis(service, analysis)
    abandoned = service.uploads.abandoned()
    for upload in abandoned:
        service.uploads.erase(upload)
    return len(expired) + len(abandoned)
