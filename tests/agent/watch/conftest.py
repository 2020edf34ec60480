"""What the watch tests share: an API server, and a mirror that can be waited for."""

from collections.abc import Callable, Iterator
from threading import Condition

import pytest

from agent.model.cluster import Cluster
from agent.watch.decode.kind import Kind
from agent.watch.mirror import Mirror
from tests.agent.watch.api_server import Api


class Seen:
    """The Clusters that a mirror gave, in order."""

    def __init__(self) -> None:
        self.clusters: list[Cluster] = []
        self._changed = Condition()

    def take(self, cluster: Cluster) -> None:
        """Be the mirror's on_cluster."""
        with self._changed:
            self.clusters.append(cluster)
            self._changed.notify_all()

    def until(self, holds: Callable[[Cluster], object], timeout_s: float = 60) -> Cluster:
        """The latest Cluster, as soon as *holds* is true of it."""
        with self._changed:
            found = self._changed.wait_for(lambda: self.clusters and holds(self.clusters[-1]), timeout_s)
            assert found, f"not within {timeout_s} s; last seen: {self.clusters[-1:]}"
            return self.clusters[-1]

    def mirror(self, *expected: Kind) -> Mirror:
        """A mirror that this watches."""
        return Mirror(self.take, expected)


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def api() -> Iterator[Api]:
    api = Api()
    yield api
    api.stop()
