"""loadBalancerSourceRanges on the wire: pods, nodes and outsiders in the ranges are served, and nobody else."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from lab.use import Asked, Client
from tests.lab.conftest import BACKENDS, Echo
from tests.patience import until

pytestmark = [pytest.mark.netns, pytest.mark.kernel]

ADDRESSES = ("192.0.2.82", "2001:db8::82")
# of the four two, as who is not served waits for seconds; tests/bpf has each
WAYS = pytest.mark.parametrize(
    ("kind", "family"), [pytest.param("tcp", 0, id="tcp-ipv4"), pytest.param("udp", 1, id="udp-ipv6")]
)


def ranged(echo: Echo, ranges: list[str]) -> None:
    """A service with these source ranges, or any when there are none."""
    service = {
        "kind": "Service",
        "metadata": {"name": "ranged"},
        "spec": {
            "type": "LoadBalancer",
            "ipFamilyPolicy": "RequireDualStack",
            "loadBalancerSourceRanges": ranges,
            "selector": {"app": "echo"},
            "ports": [
                {"name": "tcp", "port": 80, "targetPort": "tcp"},
                {"name": "udp", "port": 80, "targetPort": "udp", "protocol": "UDP"},
            ],
        },
        "status": {"loadBalancer": {"ingress": [{"ip": address} for address in ADDRESSES]}},
    }
    echo.cluster.apply(json.dumps(service))


def is_served(found: Asked) -> bool:
    """Whether the one question had an answer of a backend."""
    return not found.errors and found.names <= BACKENDS


@pytest.fixture
def outside(echo: Echo) -> Iterator[Client]:
    """Whoever is outside, for whom the load balancer's addresses lead to n3."""
    machine, way = echo.cluster.site.outside, echo.cluster.site.machine("n3").addresses
    for address, gateway in zip(ADDRESSES, way, strict=True):
        machine.run("ip", "route", "replace", address, "via", str(gateway))
    yield echo.outside
    for address in ADDRESSES:
        machine.run("ip", "route", "delete", address)
    echo.cluster.remove("Service", "ranged")


@WAYS
def test_who_is_in_a_range_is_served_and_nobody_else(echo: Echo, outside: Client, kind: str, family: int) -> None:
    everybody = {
        "a pod": echo.asking,
        "another pod": echo.other,
        "a node": echo.node("n1"),
        "another node": echo.node("n2"),
        "the outside": outside,
    }

    def served() -> set[str]:
        with ThreadPoolExecutor() as all_at_once:
            seen = all_at_once.map(lambda one: one.ask(kind, ADDRESSES[family], 80, patience_s=1.5), everybody.values())
            return {name for name, found in zip(everybody, seen, strict=True) if is_served(found)}

    ranged(echo, [])
    until(lambda: served() == set(everybody))
    own = str(echo.asking.machine.run("hostname", "-I", context=echo.asking.context).stdout).split()[family]
    node = str(echo.cluster.site.machine("n2").addresses[family])
    bits = (32, 128)[family]
    ranged(echo, [f" {own}/{bits}", f"{node}/{bits}"])
    until(lambda: served() == {"a pod", "another node"})
    ranged(echo, [str(echo.cluster.site.outside.addresses[family])])
    until(lambda: served() == {"the outside"})
