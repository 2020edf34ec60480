"""A client stays with its backend for as long as the service says, and no longer than the backend does."""

from dataclasses import replace

import pytest

from maps import abi
from tests.behaviours import shows
from tests.bpf.datapath import (
    CLIENT,
    CLIENT6,
    NODE,
    NODE6,
    OTHER,
    OTHER6,
    POD,
    POD6,
    VIP,
    VIP6,
    Datapath,
    datagram,
    frame,
    syn,
)
from tests.bpf.packets import addresses

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("undisturbed")]

TIMEOUT_S = 140
FAMILIES = [
    pytest.param(POD, VIP, ["10.244.2.1", "10.244.2.2", "10.244.2.3"], id="IPv4"),
    pytest.param(POD6, VIP6, ["fd00:2::1", "fd00:2::2", "fd00:2::3"], id="IPv6"),
]


# where clients are, a load balancer's address, its backends
WAYS = (
    ("192.0.2.", VIP, ["10.244.2.1", "10.244.2.2", "10.244.2.3"]),
    ("2001:db8::", VIP6, ["fd00:2::1", "fd00:2::2", "fd00:2::3"]),
)
OUTSIDE = pytest.mark.parametrize(("client", "vip", "backends"), WAYS, ids=["IPv4", "IPv6"])
SCOPE_EXTERNAL = abi.Scope.SCOPE_EXTERNAL


def keep(node: Datapath, vip: str, backends: list[str]) -> int:
    """A service that keeps its clients; returns its set's id."""
    return node.service(vip, 80, [(each, 8080, False) for each in backends], affinity_s=TIMEOUT_S)


def asked(node: Datapath, pod: str, vip: str, sports: range) -> list[str]:
    """Which backends new connections get."""
    return [addresses(node.run("pod_ingress", frame(pod, vip, syn(sport=n))).packet)[1] for n in sports]


def away(node: Datapath, units: int) -> None:
    """Make the clients look away for so long; a unit is 2^30 ns."""
    table = node.tables["affinities"]
    table.update([(k, replace(a, seen_s=(a.seen_s - units) % 2**32)) for k, a in list(table.items())])


@shows("43 by a cluster IP", pytest.mark.parametrize(("pod", "vip", "backends"), FAMILIES))
def test_every_new_connection_goes_to_the_same_backend(node: Datapath, pod: str, vip: str, backends: list[str]) -> None:
    keep(node, vip, backends)
    assert len(set(asked(node, pod, vip, range(40000, 40020)))) == 1
    assert node.tables["affinities"].count() == 1


@shows("44 within the time-out", pytest.mark.parametrize(("pod", "vip", "backends"), FAMILIES))
def test_within_the_timeout_the_client_comes_back_to_its_backend(
    node: Datapath, pod: str, vip: str, backends: list[str]
) -> None:
    keep(node, vip, backends)
    (first,) = asked(node, pod, vip, range(40000, 40001))
    for begin in range(40100, 40110):
        away(node, TIMEOUT_S * 13 // 14 - 2)
        assert asked(node, pod, vip, range(begin, begin + 1)) == [first]


@shows("44 after the time-out", pytest.mark.parametrize(("pod", "vip", "backends"), FAMILIES))
def test_after_the_timeout_the_client_is_as_new(node: Datapath, pod: str, vip: str, backends: list[str]) -> None:
    keep(node, vip, backends)
    seen = set()
    for sport in range(40000, 40030):
        seen |= set(asked(node, pod, vip, range(sport, sport + 1)))
        away(node, TIMEOUT_S * 13 // 14 + 2)
    assert seen == set(backends)


@shows("46 the backend leaves", pytest.mark.parametrize(("pod", "vip", "backends"), FAMILIES))
def test_a_client_whose_backend_left_is_given_another_and_stays_with_it(
    node: Datapath, pod: str, vip: str, backends: list[str]
) -> None:
    set_id = keep(node, vip, backends)
    (first,) = asked(node, pod, vip, range(40000, 40001))
    gone = backends.index(first)
    others = [each for each in backends if each != first]
    node.backends(set_id, [(each, 8080, False) for each in others], first_slot=3)
    node.tables["backends"].delete([abi.BackendKey(set_id, gone)])
    second = set(asked(node, pod, vip, range(41000, 41020)))
    assert len(second) == 1
    assert second < set(others)


def test_a_slot_that_another_backend_has_taken_is_not_the_clients(node: Datapath) -> None:
    set_id = keep(node, VIP, [OTHER])
    assert asked(node, POD, VIP, range(40000, 40001)) == [OTHER]
    node.backends(set_id, [("10.244.2.1", 8080, False)])
    assert asked(node, POD, VIP, range(41000, 41001)) == ["10.244.2.1"]


@shows(
    "43 49 by a node port",
    pytest.mark.parametrize(
        ("client", "own", "under", "other"),
        [
            pytest.param(CLIENT, NODE, "0.0.0.0", OTHER, id="IPv4"),
            pytest.param(CLIENT6, NODE6, "::", OTHER6, id="IPv6"),
        ],
    ),
)
def test_clients_outside_are_known_by_their_own_address(
    node: Datapath, client: str, own: str, under: str, other: str
) -> None:
    scope = abi.Scope.SCOPE_EXTERNAL
    pod = POD6 if ":" in client else POD
    node.service(under, 30080, [(pod, 8080, True), (other, 8080, True)], scope=scope, affinity_s=TIMEOUT_S)
    seen = {
        addresses(node.run("uplink_ingress", frame(client, own, syn(sport=n, dport=30080))).packet)[1]
        for n in range(40000, 40020)
    }
    assert len(seen) == 1
    ((key, _),) = node.tables["affinities"].items()
    assert str(key.client.ipv4_mapped or key.client) == client


@pytest.mark.parametrize("flags", [0, abi.ServiceFlag.SERVICE_LOCAL], ids=["Cluster", "Local"])
@pytest.mark.parametrize("protocol", [6, 17], ids=["TCP", "UDP"])
@shows("48 a load balancer's address", OUTSIDE)
def test_a_load_balancers_client_comes_back_by_either_policy(
    node: Datapath, client: str, vip: str, backends: list[str], protocol: int, flags: int
) -> None:
    made = [(each, 8080, True) for each in backends]
    node.service(vip, 80, made, protocol=protocol, scope=SCOPE_EXTERNAL, affinity_s=TIMEOUT_S, flags=flags)
    l4 = syn if protocol == 6 else datagram
    for host in range(1, 4):
        asks = [frame(f"{client}{host}", vip, l4(sport=n, dport=80)) for n in range(40000, 40010)]
        assert len({addresses(node.run("uplink_ingress", one).packet)[1] for one in asks}) == 1


@shows("49 a port, a family, a client's address")
def test_affinity_is_of_a_port_a_family_and_a_clients_address(node: Datapath) -> None:
    """Two ports, two families, two clients: each has a backend of its own, and the end of one is no other's."""
    for _, vip, backends in WAYS:
        for port in (80, 81):
            made = [(each, 8080, True) for each in backends]
            node.service(vip, port, made, scope=SCOPE_EXTERNAL, affinity_s=TIMEOUT_S)

    def given(client: str, vip: str, port: int, sport: int) -> str:
        l4 = syn(sport=sport, dport=port)
        return addresses(node.run("uplink_ingress", frame(client, vip, l4)).packet)[1]

    asks = [(f"{client}{host}", vip, port) for client, vip, _ in WAYS for host in (1, 2) for port in (80, 81)]
    first = {ask: given(*ask, 40000) for ask in asks}
    table = node.tables["affinities"]
    keys = [key for key, _ in table.items()]
    assert len(keys) == len(asks) == len({(key.client, key.set_id) for key in keys})
    table.delete(keys[:1])
    assert sum(given(*ask, 41000) == backend for ask, backend in first.items()) >= len(asks) - 1
    assert table.count() == len(asks)
