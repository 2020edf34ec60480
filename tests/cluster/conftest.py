"""A running cluster, and a namespace in it for each test.

The lab's cluster is used when it runs (``lab up --kubernetes``); else it is started for these tests and taken down.
"""

import json
import os
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from lab import site
from lab.kubernetes import lifecycle
from lab.kubernetes.cluster import Cluster
from lab.site import Options
from tests.cluster.objects import Manifest, together


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The lab's cluster."""
    with lifecycle.running(os.environ.get("SLUICEWAY_LAB", site.DEFAULT_NAME), Options(kubernetes=True), print) as made:
        yield made


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace that ends with its test."""

    cluster: Cluster
    name: str

    def kubectl(self, *arguments: str, check: bool = True, stdin: str | None = None) -> str:
        """What kubectl says in this namespace."""
        return self.cluster.kubectl.run(f"--namespace={self.name}", *arguments, check=check, stdin=stdin).stdout

    def get(self, *arguments: str) -> Any:
        """``kubectl get``, as parsed JSON."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def apply(self, *items: Manifest) -> None:
        """Apply the objects and wait until the pods among them are Ready."""
        self.kubectl("apply", "-f", "-", stdin=together(items))
        if pods := [f"pod/{item['metadata']['name']}" for item in items if item["kind"] == "Pod"]:
            self.kubectl("wait", "--for=condition=Ready", *pods, "--timeout=180s")

    def sh(self, pod: str, command: str) -> subprocess.CompletedProcess[str]:
        """Run a shell command in a pod."""
        execute = ["exec", pod, "--", "sh", "-c", command]
        return self.cluster.kubectl.run(f"--namespace={self.name}", *execute, check=False)

    def cluster_ips(self, service: str) -> list[str]:
        """The service's addresses as a URL wants them."""
        addresses = self.get("service", service)["spec"]["clusterIPs"]
        return [f"[{address}]" if ":" in address else address for address in addresses]


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[Namespace]:
    """A namespace of this test's own."""
    made = Namespace(cluster, f"test-{uuid.uuid4().hex[:8]}")
    cluster.kubectl.run("create", "namespace", made.name)
    yield made
    cluster.kubectl.run("delete", "namespace", made.name, "--wait=false")


def eventually(condition: Callable[[], bool], within_s: float = 120.0) -> bool:
    """Whether *condition* holds before the time is up."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
