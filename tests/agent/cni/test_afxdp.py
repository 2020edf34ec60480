"""That an interface has AF_XDP is read from the configuration, or for the first one from the pod's annotation."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cni.afxdp import ANNOTATION, afxdp, place
from agent.cni.error import CniError
from agent.devices.candidates import slots
from agent.devices.config import MOST_SLOTS, NAME, DeviceType, Resource
from agent.model.attachment import AfXdp, Captured
from agent.model.name import ObjectName

OWN = "pods/default/web/eth0"


def read(value: Any, **more: Any) -> AfXdp | None:
    return afxdp({"afxdp": value, **more}, {}, OWN, "eth0")


@pytest.mark.parametrize(
    ("value", "found"),
    [
        pytest.param({}, AfXdp(OWN), id="as it is without members"),
        pytest.param({"queues": 64}, AfXdp(OWN, 64), id="queues"),
        pytest.param({"capture": ["udp"]}, AfXdp(OWN, 1, (Captured(17),)), id="a protocol"),
        pytest.param(
            {"capture": ["tcp:80", "sctp:1-65535"]}, AfXdp(OWN, 1, (Captured(6, 80, 80), Captured(132, 1))), id="ports"
        ),
        pytest.param({"capture": ["icmp", "icmpv6"]}, AfXdp(OWN, 1, (Captured(1), Captured(58))), id="without ports"),
    ],
)
def test_what_is_asked_for(value: Any, found: AfXdp) -> None:
    assert read(value) == found


@pytest.mark.parametrize(
    ("value", "says"),
    [
        pytest.param([], "afxdp: ", id="no object"),
        pytest.param({"queue": 1}, "afxdp.queue: ", id="an unknown member"),
        pytest.param({"queues": 0}, "afxdp.queues: ", id="no queue"),
        pytest.param({"queues": 65}, "afxdp.queues: ", id="more queues than there are"),
        pytest.param({"queues": True}, "afxdp.queues: ", id="no number"),
        pytest.param({"capture": "udp"}, "afxdp.capture: ", id="no list"),
        pytest.param({"capture": ["udp"] * 17}, "afxdp.capture: ", id="more rules than there are"),
        pytest.param({"capture": ["udp", "gre"]}, "afxdp.capture[1]: ", id="an unknown protocol"),
        pytest.param({"capture": ["icmp:8"]}, "afxdp.capture[0]: ", id="ports of a protocol without"),
        pytest.param({"capture": ["udp:0"]}, "afxdp.capture[0]: ", id="port 0"),
        pytest.param({"capture": ["udp:9-8"]}, "afxdp.capture[0]: ", id="a range that ends before it begins"),
        pytest.param({"capture": ["udp:65536"]}, "afxdp.capture[0]: ", id="a port that is none"),
    ],
)
def test_a_mistake_is_named(value: Any, says: str) -> None:
    with pytest.raises(CniError) as refused:
        read(value)
    assert str(refused.value).startswith(says)


def test_a_device_that_a_plugin_gave_has_a_place_of_its_own() -> None:
    device = AfXdp("afxdp-7")
    assert read({}, deviceID="afxdp-7") == device
    assert read({}, runtimeConfig={"deviceID": "afxdp-7"}) == device
    with pytest.raises(CniError, match="deviceID"):
        read({}, deviceID="../x")


@given(st.from_regex(NAME, fullmatch=True), st.integers(1, MOST_SLOTS))
def test_every_slot_of_the_device_plugin_is_a_device(name: str, number: int) -> None:
    *_, slot = slots(Resource(f"example.com/{name}", DeviceType.AFXDP, slots=number))
    assert read({}, deviceID=slot) == AfXdp(slot)


def test_the_annotation_is_the_first_interfaces() -> None:
    notes = {ANNOTATION: '{"queues": 2}'}
    assert afxdp({}, notes, OWN, "eth0") == AfXdp(OWN, 2)
    assert afxdp({}, notes, OWN, "net1") is None
    assert afxdp({"afxdp": {}}, notes, OWN, "eth0") == AfXdp(OWN)
    with pytest.raises(CniError, match=ANNOTATION):
        afxdp({}, {ANNOTATION: "{"}, OWN, "eth0")


def test_a_place_follows_from_the_pod() -> None:
    assert place(ObjectName("default", "web.0"), "c1", "net1") == "pods/default/web.0/net1"
    assert place(None, "c1", "net1") == "containers/c1/net1"
    assert place(ObjectName("..", "web"), "c1", "net1") == "containers/c1/net1"
