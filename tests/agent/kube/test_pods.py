"""A Pod asked of an API server over HTTP, and what is no answer to that."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.kube.client import Client, Refused, connect
from agent.kube.pods import PodAnswer, ask_pod
from agent.model.name import ObjectName
from tests.agent.kube.lease_server import LeaseServer, kubeconfig

NAME = ObjectName("default", "a")
POD = {"kind": "Pod", "metadata": {"name": "a", "namespace": "default", "annotations": {"x": "y"}}}


@pytest.fixture
def server() -> Iterator[LeaseServer]:
    server = LeaseServer()
    yield server
    server.stop()


def test_a_pod_is_told_with_its_annotations_and_one_that_is_not_there_as_none(
    server: LeaseServer, tmp_path: Path
) -> None:
    client = Client(lambda: connect(kubeconfig(tmp_path, server.port)))
    assert ask_pod(client, NAME) is None
    made = server.store("/api/v1/namespaces/default/pods/a", POD)
    assert ask_pod(client, NAME) == PodAnswer(made["metadata"]["uid"], {"x": "y"})


@pytest.mark.parametrize("answer", [{}, {"kind": "Status", "status": "Failure"}, "ok"])
def test_a_proxys_answer_is_no_pod_without_annotations(answer: object, server: LeaseServer, tmp_path: Path) -> None:
    server.proxy = answer
    with pytest.raises(Refused, match="no Pod"):
        ask_pod(Client(lambda: connect(kubeconfig(tmp_path, server.port))), NAME)
