"""A pod that routes for others: their packets pass while its Namespace allows it, to pods, services, nodes, outside."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from lab import use
from lab.addresses import at_once
from lab.manifests import Object
from lab.use import Client
from tests.lab.conftest import BACKENDS, OFTEN, Echo
from tests.patience import until

pytestmark = [pytest.mark.netns, pytest.mark.kernel]

SPACE = "vpn"
BEHIND = ("10.200.3.4", "fd00:200::34")  # stands on the router's loopback device, for a client that is far behind it
RANGES = "10.200.0.0/16, fd00:200::/64"
ROUTED, ALLOWED = "sluiceway.io/routed-ranges", "sluiceway.io/allowed-routed-ranges"
KINDS = pytest.mark.parametrize("kind", ["tcp", "udp"])
FAMILIES = pytest.mark.parametrize("family", [pytest.param(0, id="ipv4"), pytest.param(1, id="ipv6")])


def allow(echo: Echo, ranges: str) -> None:
    """Have the Namespace's pods route for these; none: for nobody."""
    notes = f"annotations: {{{ALLOWED}: '{ranges}'}}" if ranges else "labels: {}"
    echo.cluster.apply(f"kind: Namespace\napiVersion: v1\nmetadata: {{name: {SPACE}, {notes}}}\n")


def annotated(echo: Echo, item: Object, ranges: str) -> None:
    """Have a running pod ask for these."""
    with echo.cluster.site.alone():
        now = echo.cluster.pod("router", SPACE)
        echo.cluster.manifests.put({**now, "metadata": {**item["metadata"], "annotations": {ROUTED: ranges}}})


def await_ranges(echo: Echo, *, there: bool) -> None:
    """Until n1's maps have the ranges, or have them no more; and the kernel its routes."""
    machine = echo.cluster.site.machine("n1")

    def are_there() -> set[bool]:
        found = (
            machine.run("ip", "route", "show", "10.200.0.0/16"),
            machine.run("ip", "-6", "route", "show", "fd00:200::/64"),
        )
        return {bool(routes.stdout) for routes in found}

    until(lambda: are_there() == {there}, f"ranges {'did not come' if there else 'stayed'}")


@contextmanager
def routes_on(echo: Echo, machine: str, *, by: str = "n1") -> Iterator[None]:
    """Have another machine send what is for the ranges to a node."""
    there = echo.cluster.site.machine(machine) if machine != "outside" else echo.cluster.site.outside
    for network, address in zip(RANGES.split(", "), echo.cluster.site.machine(by).addresses, strict=True):
        there.run("ip", "route", "replace", network, "via", str(address))
    try:
        yield
    finally:
        for network in RANGES.split(", "):
            there.run("ip", "route", "del", network)


@pytest.fixture(scope="module", params=["socket", "tc"])
def routed(request: pytest.FixtureRequest) -> Iterator[tuple[Echo, Client, Object]]:
    """A server that sends from, and has, an address behind its pod's own: in a pod that may route for its range."""
    echo: Echo = request.getfixturevalue(f"echo_{request.param}")
    allow(echo, RANGES)
    server = [*use.SERVER, str(use.SERVER_PORT)]
    item = echo.cluster.run("router", "n1", server, space=SPACE, ports=use.PORTS)
    client = use.client(echo.cluster, item)
    for family, address in enumerate(BEHIND):
        version = "-6" if family else "-4"
        run = ["ip", version]
        add = [*run, "address", "add", address, "dev", "lo", *at_once(address)]
        client.machine.run(*add, context=client.context)
        (way, *_) = client.machine.run(*run, "route", "show", "default", context=client.context).stdout.splitlines()
        words = way.split()
        hop = words[words.index("via") + 1]
        client.machine.run(
            *run,
            "route",
            "replace",
            "default",
            "via",
            hop,
            "dev",
            "eth0",
            "onlink",
            "src",
            address,
            *(["metric", words[words.index("metric") + 1]] if "metric" in words else []),
            context=client.context,
        )
    try:
        yield echo, client, item
    finally:
        echo.cluster.delete("router", SPACE, grace_s=0)
        echo.cluster.remove("Namespace", SPACE, "")


@pytest.fixture
def router(routed: tuple[Echo, Client, Object]) -> tuple[Echo, Client]:
    """The same, and its ranges are asked for and allowed."""
    echo, client, item = routed
    allow(echo, RANGES)
    annotated(echo, item, RANGES)
    await_ranges(echo, there=True)
    return echo, client


@KINDS
@FAMILIES
def test_it_reaches_a_pod_of_the_node_and_is_reached(router: tuple[Echo, Client], kind: str, family: int) -> None:
    echo, behind = router
    assert behind.ask(kind, echo.pod_ips("web1")[family], use.SERVER_PORT, 3).answers == {"web1": 3}
    assert echo.asking.ask(kind, BEHIND[family], use.SERVER_PORT, 3).answers == {"router": 3}


@KINDS
@FAMILIES
def test_it_reaches_its_node_and_is_reached_by_it(router: tuple[Echo, Client], kind: str, family: int) -> None:
    echo, _ = router
    assert echo.node("n1").ask(kind, BEHIND[family], use.SERVER_PORT, 3).answers == {"router": 3}


@FAMILIES
def test_it_asks_a_service_whose_backend_is_on_its_node(router: tuple[Echo, Client], family: int) -> None:
    echo, behind = router
    assert behind.ask("tcp", echo.ips("near")[family], 80, 3).answers == {"web1": 3}


@KINDS
@FAMILIES
def test_other_nodes_and_the_outside_reach_it_where_they_have_a_route(
    router: tuple[Echo, Client], kind: str, family: int
) -> None:
    echo, behind = router
    with routes_on(echo, "n2"), routes_on(echo, "n3"), routes_on(echo, "outside"):
        for pod in sorted(BACKENDS):
            assert behind.ask(kind, echo.pod_ips(pod)[family], use.SERVER_PORT).answers == {pod: 1}
        seen = behind.ask(kind, echo.ips("echo")[family], 80, OFTEN)
        assert (seen.names, seen.errors) == (BACKENDS, {})
        assert echo.outside.ask(kind, BEHIND[family], use.SERVER_PORT, 3).answers == {"router": 3}
        far = use.client(echo.cluster, echo.pods["web2"])
        assert far.ask(kind, BEHIND[family], use.SERVER_PORT, 3).answers == {"router": 3}


def forbid(echo: Echo, item: Object) -> None:
    """Take the Namespace's leave."""
    assert item
    allow(echo, "")


def forgo(echo: Echo, item: Object) -> None:
    """Take what the pod asks for."""
    annotated(echo, item, "")


@pytest.mark.parametrize("withdraw", [forbid, forgo], ids=["it is not allowed any more", "it does not ask any more"])
def test_without_leave_nothing_of_it_passes_and_with_leave_it_does_again(
    router: tuple[Echo, Client], routed: tuple[Echo, Client, Object], withdraw: Callable[[Echo, Object], None]
) -> None:
    echo, behind = router
    target = echo.pod_ips("web1")
    withdraw(echo, routed[2])
    await_ranges(echo, there=False)
    for address in target:
        assert behind.ask("tcp", address, use.SERVER_PORT, patience_s=use.SILENT_S).answers == {}
    allow(echo, RANGES)
    annotated(echo, routed[2], RANGES)
    await_ranges(echo, there=True)
    for address in target:
        assert behind.ask("tcp", address, use.SERVER_PORT).answers == {"web1": 1}
