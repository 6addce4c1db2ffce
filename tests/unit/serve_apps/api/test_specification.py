"""The API does what its specification says: whatever is sent by it, nothing makes the service fail."""

from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.product.service import TOKEN, running_service

_CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
_EXAMPLES = 12


def test_nothing_that_is_sent_makes_it_fail(tmp_path: Path) -> None:
    with running_service(tmp_path) as running:
        specification = schemathesis.openapi.from_dict(running.app.openapi())
        specification.app = running.app
        tried = 0
        for found in specification.get_all_operations():
            operation: Any = found.ok()  # type: ignore[union-attr]
            _try(operation)
            tried += 1
    assert tried > 20


def _try(operation: Any) -> None:
    @given(case=operation.as_strategy())
    @settings(max_examples=_EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    def send(case: Any) -> None:
        case.headers["Authorization"] = f"Bearer {TOKEN}"
        if case.query and "wait_s" in case.query:
            case.query["wait_s"] = 0
        case.call_and_validate(checks=_CHECKS)

    send()
