"""What the API's tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.product.service import Running, running_service


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Running]:
    """The API on a database of its own."""
    with running_service(tmp_path) as running:
        yield running
