"""Addresses of an IPAM plugin's configuration: what it would refuse at a pod's start is told with its key."""

import json
from typing import Any

import pytest

from agent.compile.ipam_ranges import check_addresses
from agent.compile.network_config import plugin_list
from agent.compile.network_refused import NetworkRefused

SUBNET = {"subnet": "10.50.0.0/24"}


def host_local(**ipam: Any) -> dict[str, Any]:
    return {"type": "host-local", **ipam}


def static(*addresses: Any) -> dict[str, Any]:
    return {"type": "static", "addresses": [*addresses]}


@pytest.mark.parametrize(
    ("ipam", "field", "says"),
    [
        pytest.param(host_local(), "subnet", "is missing", id="no range"),
        pytest.param(host_local(ranges=[]), "subnet", "is missing", id="an empty list of ranges"),
        pytest.param(host_local(subnet="10.50.0.0/33"), "subnet", "'10.50.0.0/33' is no prefix", id="too long"),
        pytest.param(host_local(subnet="10.50.0.0"), "subnet", "is no prefix", id="no length"),
        pytest.param(host_local(subnet=5), "subnet", "5 is no prefix", id="a number"),
        pytest.param(host_local(subnet="10.50.0.1/24"), "subnet", "the network is 10.50.0.0/24", id="host bits"),
        pytest.param(host_local(subnet="10.50.0.0/31"), "subnet", "is too small", id="two addresses"),
        pytest.param(host_local(**SUBNET, rangeStart="10.51.0.5"), "rangeStart", "is not in 10.50.0.0/24", id="beside"),
        pytest.param(host_local(**SUBNET, rangeEnd="fd00::5"), "rangeEnd", "is no address of the family", id="of IPv6"),
        pytest.param(host_local(**SUBNET, gateway="gw"), "gateway", "'gw' is no address", id="a name of a gateway"),
        pytest.param(host_local(**SUBNET, gateway=[1]), "gateway", "[1] is no address", id="a list for a gateway"),
        pytest.param(
            host_local(**SUBNET, rangeStart="10.50.0.9", rangeEnd="10.50.0.8"),
            "rangeEnd",
            "is before 10.50.0.9",
            id="back",
        ),
        pytest.param(host_local(**SUBNET, rangeEnd="10.50.0.0"), "rangeEnd", "before 10.50.0.1", id="the subnet's own"),
        pytest.param(
            host_local(ranges=[[SUBNET, {"subnet": "fd00::/64"}]]),
            "ranges[0][1].subnet",
            "fd00::/64 is of another family than 10.50.0.0/24",
            id="two families in a set",
        ),
        pytest.param(
            host_local(ranges=[[{**SUBNET, "rangeEnd": "10.50.0.20"}, {**SUBNET, "rangeStart": "10.50.0.20"}]]),
            "ranges[0][1]",
            "10.50.0.20-10.50.0.254 overlaps 10.50.0.1-10.50.0.20",
            id="an address twice in a set",
        ),
        pytest.param(
            host_local(ranges=[[SUBNET], [{"subnet": "10.50.0.0/25"}]]),
            "ranges[1][0]",
            "10.50.0.1-10.50.0.126 overlaps 10.50.0.1-10.50.0.254",
            id="in two sets",
        ),
        pytest.param(host_local(**SUBNET, ranges=[[SUBNET]]), "ranges[0][0]", "overlaps", id="in both forms"),
        pytest.param(host_local(ranges={}), "ranges", "{} is no list", id="an object of ranges"),
        pytest.param(host_local(ranges=[SUBNET]), "ranges[0]", "write [[{...}]]", id="a list too few"),
        pytest.param(host_local(ranges=[[7]]), "ranges[0][0]", "7 is no object", id="a number for a range"),
        pytest.param(
            host_local(ranges=[[SUBNET], [{"subnet": "x"}]]), "ranges[1][0].subnet", "'x' is no prefix", id="the second"
        ),
        pytest.param(static({"address": "10.50.0.9"}), "addresses[0].address", "with its length", id="bare"),
        pytest.param(
            static({"address": "10.50.0.9/24", "gateway": "x"}), "addresses[0].gateway", "'x' is no", id="no gateway"
        ),
        pytest.param(static("10.50.0.9/24"), "addresses[0]", "is no object", id="a text for an address"),
    ],
)
def test_an_address_that_cannot_be_given_is_told_with_its_key(ipam: dict[str, Any], field: str, says: str) -> None:
    with pytest.raises(NetworkRefused) as refused:
        plugin_list(json.dumps({"type": "bridge", "ipam": ipam}), "lan")
    assert (refused.value.field, says in refused.value.text) == (f"spec.config.ipam.{field}", True), refused.value


@pytest.mark.parametrize(
    "ipam",
    [
        pytest.param(host_local(**SUBNET, rangeStart="10.50.0.5", rangeEnd="10.50.0.9", gateway="10.1.0.1"), id="one"),
        pytest.param(host_local(subnet="fd00:50:0::/64", rangeStart="", gateway=None), id="another spelling"),
        pytest.param(
            host_local(ranges=[[SUBNET, {"subnet": "10.60.0.0/30"}], [{"subnet": "fd00::/64"}]]), id="several"
        ),
        pytest.param(
            host_local(ranges=[[{**SUBNET, "rangeEnd": "10.50.0.20"}, {**SUBNET, "rangeStart": "10.50.0.21"}]]),
            id="two of one subnet",
        ),
        pytest.param(host_local(ranges=[[{"subnet": "::/64"}], [{"subnet": "0.0.0.0/8"}]]), id="of like numbers"),
        pytest.param(host_local(subnet="usePodCidr"), id="what calico fills in"),
        pytest.param({"type": "static"}, id="those that the pod names"),
        pytest.param(
            static({"address": "10.50.0.9/24", "gateway": "10.1.0.1"}, {"address": "fd00::9/64"}), id="static"
        ),
        pytest.param({"type": "whereabouts", "range": "10.50.0.2-10.50.0.9/24"}, id="another plugin's"),
    ],
)
def test_what_can_be_given_passes(ipam: dict[str, Any]) -> None:
    check_addresses(ipam, "ipam")


def test_ranges_may_be_a_runtimes_to_say() -> None:
    config = {"type": "bridge", "capabilities": {"ipRanges": True}, "ipam": {"type": "host-local"}}
    assert plugin_list(json.dumps(config), "lan").capabilities == {"ipRanges"}
