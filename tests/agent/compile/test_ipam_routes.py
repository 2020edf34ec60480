"""Routes of an IPAM plugin's configuration: each mistake is told with its key, and what passes can be set."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.compile.ipam_routes import NUMBERS, check_routes
from agent.compile.network_refused import NetworkRefused
from agent.pods.device.ipam import addresses

GOOD = {"dst": "10.8.0.0/16", "gw": "10.9.0.1"}


@pytest.mark.parametrize(
    ("routes", "field", "says"),
    [
        pytest.param({}, "routes", "{} is no list", id="an object in place of a list"),
        pytest.param("10.8.0.0/16", "routes", "is no list of routes", id="a text in place of a list"),
        pytest.param(["10.8.0.0/16"], "routes[0]", "is no object", id="a text in place of a route"),
        pytest.param([GOOD, {}], "routes[1].dst", "what is not there is no prefix", id="a route to nowhere"),
        pytest.param([{"dst": None}], "routes[0].dst", "None is no prefix", id="null"),
        pytest.param([{"dst": 10}], "routes[0].dst", "10 is no prefix", id="a number"),
        pytest.param([{"dst": "default"}], "routes[0].dst", "'default' is no prefix", id="as iproute2 has it"),
        pytest.param([{"dst": "10.8.0.0"}], "routes[0].dst", "is no prefix, as 10.8.0.0/16", id="without a length"),
        pytest.param([{"dst": "10.8.0.0/33"}], "routes[0].dst", "is no prefix", id="too long"),
        pytest.param([{"dst": "10.8.0.0/255.255.0.0"}], "routes[0].dst", "is no prefix", id="a mask for a length"),
        pytest.param([{"dst": "10.8.0.0/ 16"}], "routes[0].dst", "is no prefix", id="a blank in it"),
        pytest.param([{"dst": "fe80::%eth0/64"}], "routes[0].dst", "is no prefix", id="a zone"),
        pytest.param([{**GOOD, "gw": "gateway"}], "routes[0].gw", "'gateway' is no address", id="a name"),
        pytest.param([{**GOOD, "gw": "10.9.0.1/24"}], "routes[0].gw", "is no address", id="a gateway with a length"),
        pytest.param([{**GOOD, "gw": [7]}], "routes[0].gw", "[7] is no address", id="a list for a gateway"),
        pytest.param([{**GOOD, "gw": 7}], "routes[0].gw", "7 is no address", id="a gateway that is a number"),
        pytest.param([{**GOOD, "gw": "fe80::1%eth0"}], "routes[0].gw", "is no address", id="a gateway with a zone"),
        pytest.param([{**GOOD, "gw": "fd09::1"}], "routes[0].gw", "fd09::1 is not of the family", id="of IPv6"),
        pytest.param([{"dst": "::/0", "gw": "10.9.0.1"}], "routes[0].gw", "is not of the family of ::/0", id="of IPv4"),
        pytest.param([{**GOOD, "mtu": "1400"}], "routes[0].mtu", "'1400' is not a number", id="an MTU as text"),
        pytest.param([{**GOOD, "priority": -1}], "routes[0].priority", "-1 is not a number", id="less than nothing"),
        pytest.param([{**GOOD, "table": True}], "routes[0].table", "True is not a number", id="a switch"),
        pytest.param([{**GOOD, "scope": 256}], "routes[0].scope", "256 is not a number from 0 to 255", id="a scope"),
        pytest.param([{**GOOD, "advmss": 1.5}], "routes[0].advmss", "1.5 is not a number", id="a fraction"),
    ],
)
@pytest.mark.parametrize("kind", ["sluiceway-cni", "host-local", "static", "whereabouts"])
def test_a_route_that_cannot_be_set_is_told_with_its_key(kind: str, routes: Any, field: str, says: str) -> None:
    with pytest.raises(NetworkRefused) as refused:
        check_routes({"type": kind, "routes": routes}, "ipam")
    assert (refused.value.field, says in refused.value.text) == (f"ipam.{field}", True), refused.value.text


@pytest.mark.parametrize(
    "routes",
    [
        pytest.param(None, id="null"),
        pytest.param([], id="none"),
        pytest.param([GOOD, {"dst": "0.0.0.0/0"}, {"dst": "::/0", "gw": "fe80::1"}], id="of both families"),
        pytest.param([{"dst": "10.8.7.6/16", "gw": ""}, {"dst": "fd08::/64", "gw": None}], id="without a gateway"),
        pytest.param([{**GOOD, "mtu": 1400, "advmss": 0, "priority": 5, "table": 300, "scope": 253}], id="of CNI 1.1"),
        pytest.param([{**GOOD, "table": None, "name": "x"}], id="what nobody knows beside"),
    ],
)
def test_what_can_be_set_passes(routes: Any) -> None:
    check_routes({"type": "host-local", "routes": routes}, "ipam")


@pytest.mark.parametrize("kind", ["dhcp", "other", ""])
def test_what_another_plugin_has_for_routes_is_its_own(kind: str) -> None:
    check_routes({"type": kind, "routes": "all"}, "ipam")


TEXTS = st.text("0123456789abcdef.:/%x ", max_size=18)
ROUTES = st.fixed_dictionaries(
    {"dst": TEXTS | st.ip_addresses().map(lambda one: f"{one}/{one.max_prefixlen}")},
    optional={"gw": TEXTS | st.ip_addresses().map(str), **{key: st.integers(-1, 1 << 33) for key in NUMBERS}},
)


@given(st.lists(ROUTES, max_size=3))
def test_what_passes_is_what_a_device_can_be_given(routes: list[dict[str, Any]]) -> None:
    try:
        check_routes({"type": "static", "routes": routes}, "ipam")
    except NetworkRefused:
        return
    assert len(addresses({"routes": routes}).routes) == len(routes)
