"""One server of PostgreSQL for all tests of this room in a process, and a database for each."""

import re

import pytest

from data_ops.sources.sql import connections
from tests.support.sql.postgres import Postgres


@pytest.fixture(scope="session")
def server():
    """A server with the roles locked (password `right`) and poor (may read nothing)."""
    server = Postgres("host all locked 127.0.0.1/32 scram-sha-256")
    try:
        server.execute("create role locked login password 'right'", "create role poor login")
        yield server
    finally:
        server.close()


@pytest.fixture
def url(server: Postgres, request: pytest.FixtureRequest):
    """A database of the test's own."""
    name = re.sub(r"\W", "_", request.node.name)[-50:]
    yield server.create(name)
    connections._OPEN.clear()
