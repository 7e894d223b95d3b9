"""A bucket that notifies a queue, made anew for each test on one server."""

from collections.abc import Iterator

import pytest

from tests.support.notified.bucket import AWS, NotifiedBucket, notified_bucket


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NotifiedBucket]:
    """A server that all tests of a module share."""
    with notified_bucket(tmp_path_factory.mktemp("moto")) as bucket:
        yield bucket


@pytest.fixture
def bucket(server: NotifiedBucket, monkeypatch: pytest.MonkeyPatch) -> NotifiedBucket:
    """The bucket and the queue, empty, in the environment of this process."""
    for name, value in {**AWS, "AWS_ENDPOINT_URL": server.endpoint}.items():
        monkeypatch.setenv(name, value)
    server.reset()
    server.notify()
    return server
