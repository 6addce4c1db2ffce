"""What the contract suites share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from tests.contract.databases import SCHEMA, FakeClock, postgresql, sqlite


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """An empty database of each kind."""
    made = sqlite(tmp_path) if request.param == "sqlite" else postgresql()
    yield made
    if request.param == "postgresql":
        with made.begin() as connection:
            connection.execute(text(f"DROP SCHEMA {SCHEMA} CASCADE"))
    made.dispose()


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands at 1000 s."""
    return FakeClock()
