"""What the contract suites share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.contract.databases import FakeClock, postgresql_schema, sqlite


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """An empty database of each kind."""
    if request.param == "postgresql":
        with postgresql_schema() as made:
            yield made
        return
    made = sqlite(tmp_path)
    yield made
    made.dispose()


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands at 1000 s."""
    return FakeClock()
