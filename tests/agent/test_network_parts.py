"""Which devices a pod has, as the device plugin's socket tells, in the words of the networks."""

from pathlib import Path

import pytest

from agent.devices.answers import Answers
from agent.model.device import Allocated
from agent.model.name import ObjectName
from agent.network_parts import given_devices
from agent.pods.errors import NotSynced
from agent.pods.pod_devices import Answer, Question
from agent.threads import Threads

POD = ObjectName("apps", "web")
GIVEN = [("main", "x/vf", "0000:03:02.1"), ("main", "y/slot", "slot-0"), ("side", "x/vf", "0000:03:02.0")]


def told(question: Question) -> Answer:
    if question.pod == "unknown":
        return Answer(error="the kubelet does not say which devices it has given")
    return Answer(tuple(Allocated(question.namespace, question.pod, *one) for one in GIVEN))


def test_a_pods_devices_are_by_resource_in_the_kubelets_order(tmp_path: Path) -> None:
    server = Answers(tmp_path, told, Threads())
    server.start()
    try:
        assert given_devices(tmp_path, POD, "u") == {"x/vf": ["0000:03:02.1", "0000:03:02.0"], "y/slot": ["slot-0"]}
        with pytest.raises(NotSynced, match="Pod apps/unknown are not known: the kubelet does not say"):
            given_devices(tmp_path, ObjectName("apps", "unknown"), "u")
    finally:
        server.stop()
    with pytest.raises(NotSynced, match="does sluiceway-devices run"):
        given_devices(tmp_path, POD, "u")
