"""Another plugin's result in the version that the runtime asked for, or its configuration has."""

from typing import Any

import pytest

from agent.compile.result_version import as_version, handed_on

ROUTE = {"dst": "0.0.0.0/0", "gw": "10.9.0.1"}
IP = {"address": "10.9.0.5/24", "gateway": "10.9.0.1", "interface": 0}
SIX = {"address": "fd09::5/64"}
ETH0 = {"name": "eth0", "mac": "02:00:00:00:00:01", "sandbox": "/run/netns/p"}
NEW = {
    "cniVersion": "1.1.0",
    "interfaces": [{**ETH0, "mtu": 1400, "pciID": "0000:03:02.0", "socketPath": ""}],
    "ips": [IP, SIX],
    "routes": [{**ROUTE, "mtu": 1400, "table": 100}],
    "dns": {"domain": "example.com"},
}
MIDDLE = {**NEW, "cniVersion": "1.0.0", "interfaces": [ETH0], "routes": [ROUTE]}
FAMILIES = {**MIDDLE, "cniVersion": "0.4.0", "ips": [{"version": "4", **IP}, {"version": "6", **SIX}]}
OLD = {
    "cniVersion": "0.2.0",
    "ip4": {"ip": "10.9.0.5/24", "gateway": "10.9.0.1", "routes": [ROUTE]},
    "ip6": {"ip": "fd09::5/64"},
    "dns": {},
}
FROM_OLD = {"ips": [{"address": "10.9.0.5/24", "gateway": "10.9.0.1"}, SIX], "routes": [ROUTE], "dns": {}}


@pytest.mark.parametrize(
    ("result", "version", "found"),
    [
        pytest.param(NEW, "1.1.0", NEW, id="the same version"),
        pytest.param(NEW, "1.0.0", MIDDLE, id="what came with 1.1.0 is left out"),
        pytest.param(NEW, "0.4.0", FAMILIES, id="addresses have their family before 1.0.0"),
        pytest.param(FAMILIES, "1.1.0", {**MIDDLE, "cniVersion": "1.1.0"}, id="and none afterwards"),
        pytest.param(OLD, "1.0.0", {"cniVersion": "1.0.0", **FROM_OLD}, id="of before 0.3.0"),
        pytest.param({"ips": None, "own": 1}, "1.0.0", {"cniVersion": "1.0.0", "ips": [], "own": 1}, id="null"),
    ],
)
def test_a_result_is_told_in_the_runtimes_version(result: Any, version: str, found: Any) -> None:
    assert as_version(result, version) == found


@pytest.mark.parametrize(
    ("result", "version", "found"),
    [
        pytest.param(FAMILIES, "0.4.0", FAMILIES, id="of its configuration's version"),
        pytest.param({"ips": [SIX]}, "1.0.0", {"ips": [SIX], "cniVersion": "1.0.0"}, id="of none"),
        pytest.param({"cniVersion": "", "ips": [SIX]}, "1.0.0", {"ips": [SIX], "cniVersion": "1.0.0"}, id="empty"),
        pytest.param(FAMILIES, "1.0.0", MIDDLE, id="of an earlier one"),
        pytest.param(MIDDLE, "0.4.0", FAMILIES, id="of a later one"),
        pytest.param(MIDDLE, "0.2.0", MIDDLE, id="which has another form"),
    ],
)
def test_a_result_is_told_to_other_plugins_in_their_version(result: Any, version: str, found: Any) -> None:
    assert handed_on(result, version) == found
