"""Results as one JSON document, written as it is read: a page of each analyzer's records, whatever there are in all."""

import io
import json
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

from serve_apps.results.objects import Objects
from serve_apps.results.parts import rows, tables
from serve_apps.store.analysis_store import Part


@dataclass(frozen=True)
class Page:
    """Which records of each analyzer and media item: so many from `offset` on."""

    offset: int = 0
    limit: int = 10_000


@dataclass(frozen=True)
class Item:
    """A media item: as it is shown, and why there is no more of it."""

    uri: str
    error: str | None


def json_results(
    objects: Objects,
    told: dict[str, Any],
    items: Sequence[Item],
    analyzers: Sequence[str],
    parts: Sequence[Part],
    page: Page,
) -> Iterator[bytes]:
    """The document, as `serve_apps.api.schemas.Results`; `told` has its other fields. A few parts are in memory."""
    yield _open(told) + b'"media": ['
    for index, item in enumerate(items):
        yield b", " * bool(index) + _open({"uri": item.uri, "error": item.error}) + b'"analyzers": {'
        truncated = {}
        for number, analyzer in enumerate(analyzers):
            yield b", " * bool(number) + json.dumps(analyzer).encode() + b": ["
            mine = [part for part in parts if (part.media_index, part.analyzer) == (index, analyzer)]
            total = yield from _records(objects, mine, page)
            if total > page.offset + page.limit:
                truncated[analyzer] = total
            yield b"]"
        yield b'}, "truncated": ' + json.dumps(truncated).encode() + b"}"
    yield b"]}"


def _open(fields: dict[str, Any]) -> bytes:
    """A JSON object that goes on."""
    return json.dumps(fields)[:-1].encode() + b", "


def _records(objects: Objects, parts: Sequence[Part], page: Page) -> Generator[bytes, None, int]:
    """The page's records, a part at a time; returns how many there are in all."""
    seen = given = used = 0
    for _part, table in tables(objects, parts):
        used += 1
        wanted = table.slice(max(0, page.offset - seen), page.limit - given)
        seen += table.num_rows
        if wanted.num_rows:
            text = ", ".join(map(json.dumps, rows(wanted)))
            yield b", " * bool(given) + text.encode()
            given += wanted.num_rows
        if given >= page.limit:
            break
    return seen + sum(_count(objects, part) for part in parts[used:])


def _count(objects: Objects, part: Part) -> int:
    """How many records the part has, from its footer."""
    try:
        return int(pq.read_metadata(io.BytesIO(objects.read(part.uri))).num_rows)
    except FileNotFoundError:
        return 0
