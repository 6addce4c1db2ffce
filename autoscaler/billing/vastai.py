"""Vast.ai's bill: GET /v0/charges/, one row for each contract, in pages.

Its invoices (/v1/invoices/) are payments and tell nothing of machines.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from autoscaler.billing.comparison import Bill, amount_usd
from autoscaler.clouds.http import Rest
from autoscaler.clouds.rate_limits import CallKind
from autoscaler.errors import CloudError

_PAGE, _MAX_PAGES = 500, 200
_EXCERPT_CHARS = 120
_SOURCE = re.compile(r"instance-(\d{1,18})", re.ASCII)


async def read_bill(rest: Rest, since: float, until: float) -> Bill:
    """What each contract cost from `since` to `until` (unix seconds). Raises CloudError rather than give a part."""
    filters = {"day": {"gte": int(since), "lte": int(until)}, "type": {"in": ["instance"]}}
    params = {"select_filters": json.dumps(filters), "format": "table", "latest_first": "false", "limit": str(_PAGE)}
    rows: list[object] = []
    seen: set[str] = set()
    for _page in range(_MAX_PAGES):
        reply = await rest.get("/v0/charges/", params, CallKind.BILL)
        body = reply.fields()
        if not isinstance(body.get("results"), list) or body.get("success") is False:
            raise CloudError(f"{rest.describe(reply)}; no bill can be read from it")
        rows += body["results"]
        token = body.get("next_token")
        if not token:
            return _bill(rows, body.get("total"))
        if not isinstance(token, str) or token in seen:
            raise CloudError("vastai gives the same page of charges again and again")
        seen.add(token)
        params |= {"after_token": token}
    raise CloudError(f"vastai bills more than {_MAX_PAGES} pages of charges")


def _bill(rows: list[object], total: object) -> Bill:
    if isinstance(total, int) and len(rows) < total:
        raise CloudError(f"vastai gives {len(rows)} of {total} charges")
    charges: dict[tuple[str, str], float] = {}
    names: dict[str, str] = {}
    odd: list[object] = []
    for row in rows:
        if (read := _read(row)) is None:
            odd.append(row)
            continue
        contract, start, usd, name = read
        charges[contract, start] = max(usd, charges.get((contract, start), usd))  # a row that moved between two pages
        if name:
            names[contract] = name
    usd_by_contract: dict[str, float] = {}
    for (contract, _start), usd in charges.items():
        usd_by_contract[contract] = usd_by_contract.get(contract, 0.0) + usd
    return Bill(usd_by_contract, names, len(odd), repr(odd[0])[:_EXCERPT_CHARS] if odd else "")


def _read(row: object) -> tuple[str, str, float, str] | None:
    """Contract, start, amount and label, where the first and the third can be read."""
    fields: Mapping[str, Any] = row if isinstance(row, dict) else {}
    source, usd, metadata = fields.get("source"), amount_usd(fields.get("amount")), fields.get("metadata")
    found = _SOURCE.fullmatch(source) if isinstance(source, str) else None
    if found is None or usd is None:
        return None
    label = metadata.get("label") if isinstance(metadata, dict) else None
    return found[1], str(fields.get("start")), usd, label if isinstance(label, str) else ""
