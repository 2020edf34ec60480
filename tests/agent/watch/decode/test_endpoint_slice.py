"""EndpointSlices as the API server and others write them."""

import json
from ipaddress import ip_address

import pytest

from agent.model.address import mapped_octets
from agent.model.service import EndpointPort, EndpointSlice, EndpointState, Protocol
from agent.watch.decode.decoder import Decoder
from agent.watch.decode.endpoint_slice import ENDPOINT_SLICE
from agent.watch.decode.kind import Decoded
from tests.agent.watch.decode.test_decoder import DNS, decoded


def endpoints(*found: object, **parts: object) -> Decoded:
    whole: dict[str, object] = {
        "metadata": {"name": "dns-x", "labels": {"kubernetes.io/service-name": "dns"}},
        "addressType": "IPv4",
        "ports": [{"name": "dns", "protocol": "UDP", "port": 5353}],
        "endpoints": list(found),
    }
    return decoded(ENDPOINT_SLICE, **(whole | parts))


def one(found: Decoded) -> EndpointState:
    assert isinstance(found.value, EndpointSlice)
    assert found.problems == ()
    (state,) = found.value.states
    return state


@pytest.mark.parametrize(
    ("conditions", "ready", "serving", "terminating"),
    [
        pytest.param(None, True, True, False, id="141 no conditions at all mean ready"),
        pytest.param({"ready": None}, True, True, False, id="141 ready absent means ready"),
        pytest.param({"ready": False}, False, False, False, id="142 serving absent means what ready says"),
        pytest.param(
            {"ready": False, "serving": True, "terminating": True}, False, True, True, id="a draining one serves"
        ),
    ],
)
def test_conditions(conditions: object, ready: bool, serving: bool, terminating: bool) -> None:  # noqa: FBT001
    found = one(endpoints({"addresses": ["10.1.0.2"], "conditions": conditions}))
    assert (found.ready, found.serving, found.terminating) == (ready, serving, terminating)


def test_every_field_of_a_slice_reaches_the_model() -> None:
    found = endpoints(
        {
            "addresses": ["10.1.0.2"],
            "nodeName": "n1",
            "zone": "a",
            "hints": {"forZones": [{"name": "a"}, {"name": "b"}], "forNodes": [{"name": "n1"}]},
        }
    )
    assert isinstance(found.value, EndpointSlice)
    assert found.value.service == DNS
    assert found.value.ports == (EndpointPort("dns", Protocol.UDP, 5353),)
    state = EndpointState(node="n1", zone="a", for_zones=("a", "b"), for_nodes=("n1",))
    assert list(found.value.endpoints()) == [(mapped_octets(ip_address("10.1.0.2")), state)]


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param({"addressType": "FQDN"}, id="143 a slice of names has no addresses"),
        pytest.param({"metadata": {"labels": {}}}, id="a slice without a service serves none"),
        pytest.param(
            {"metadata": {"labels": {"kubernetes.io/service-name": "dns", "service.kubernetes.io/headless": ""}}},
            id="a slice of a headless service has nobody to serve",
        ),
    ],
)
def test_slices_that_are_ignored(parts: dict[str, object]) -> None:
    found = endpoints({"addresses": ["example.org"]}, **parts)
    assert (found.value, found.problems) == (None, ())


@pytest.mark.parametrize(
    ("address", "text"),
    [
        pytest.param("10.1.0", "10.1.0", id="a bad address"),
        pytest.param("fd00::1", "no IPv4 address", id="an address of the other family"),
        pytest.param("fe80::1", "unicast", id="a link-local address"),
    ],
)
def test_a_bad_endpoint_leaves_the_others(address: str, text: str) -> None:
    found = endpoints({"addresses": [address]}, {"addresses": ["10.1.0.2"]})
    assert isinstance(found.value, EndpointSlice)
    assert [octets for octets, _ in found.value.endpoints()] == [mapped_octets(ip_address("10.1.0.2"))]
    assert [problem.field for problem in found.problems] == ["endpoints[0].addresses[0]"]
    assert text in found.problems[0].text


def test_an_unknown_address_type_is_a_mistake() -> None:
    found = endpoints(addressType="IPX")
    assert (found.value, [problem.field for problem in found.problems]) == (None, ["addressType"])


def test_what_repeats_is_kept_once() -> None:
    decoder = Decoder("n1")
    content = {
        "metadata": {"name": "dns-x", "namespace": "kube-system", "labels": {"kubernetes.io/service-name": "dns"}},
        "addressType": "IPv4",
        "ports": [{"name": "dns", "protocol": "UDP", "port": 5353}],
        "endpoints": [{"addresses": [f"10.1.0.{n}"], "nodeName": "n1", "zone": "a"} for n in range(2, 5)],
    }
    found = [decoder.decode(ENDPOINT_SLICE, json.dumps(content).encode()).value for _ in range(2)]
    first, second = (value for value in found if isinstance(value, EndpointSlice))
    assert len({id(state) for state in (*first.states, *second.states)}) == 1
    assert first.ports is second.ports
    assert first.name.namespace is second.name.namespace
