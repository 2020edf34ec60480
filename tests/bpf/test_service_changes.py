"""A Service that changes under its clients, and one whose endpoints are no pods: what the next connection meets."""

from collections.abc import Iterator

import pytest

from agent.model.service import Protocol, Scheduler, ServicePort
from maps.abi import DropReason, Scope
from tests.behaviours import shows
from tests.bpf.datapath import (
    CLIENT,
    CLIENT6,
    NODE,
    NODE6,
    POD,
    POD6,
    VIP,
    VIP6,
    Datapath,
    data,
    datagram,
    frame,
    syn,
)
from tests.bpf.packets import addresses, ports
from tests.bpf.scheduled import BOTH, Live
from tests.bpf.uplink import routed

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

FAR, FAR6 = "10.88.0.12", "fd88::12"  # another node


@shows("8 ports come and go", pytest.mark.parametrize(("pod", "vip", "backends", "protocol"), BOTH))
def test_a_port_that_comes_is_served_and_one_that_goes_is_refused(
    node: Datapath, pod: str, vip: str, backends: list[str], protocol: Protocol
) -> None:
    make = syn if protocol is Protocol.TCP else datagram
    old, new = ServicePort("http", protocol, 80), ServicePort("http", protocol, 81)
    live = Live(node, vip, backends, protocol).now(ports=(old,))

    def refused(port: int) -> bool:
        return node.run("pod_ingress", frame(pod, vip, make(40000, port))).reason is DropReason.DROP_NO_SERVICE

    assert refused(81)
    live.now(ports=(old, new))
    assert live.ask(pod, 0, make(40001, 81)) in backends
    kept = live.ask(pod, 0, make(40002, 80))
    live.now(ports=(new,))
    node.node(revision=2)
    assert refused(80)
    assert live.ask(pod, 0, make(40003, 81)) in backends
    if protocol is Protocol.TCP:
        assert live.ask(pod, 0, data(40002, 80)) == kept, "a connection that lives goes on"


@shows("9 made again at another address", pytest.mark.parametrize(("pod", "vip", "backends", "protocol"), BOTH))
def test_a_service_that_is_made_again_is_served_at_its_new_address_alone(
    node: Datapath, pod: str, vip: str, backends: list[str], protocol: Protocol
) -> None:
    live = Live(node, vip, backends, protocol).now()
    assert live.ask(pod, 40000) in backends
    other = f"{vip[:-1]}1"
    live.now(cluster_ips=(type(live.value.cluster_ips[0])(other),))
    node.node(revision=2)
    assert live.ask(pod, 40001) == vip
    live.vip = other
    assert live.ask(pod, 40002) in backends


@shows("19 an endpoint arrives", pytest.mark.parametrize(("pod", "vip", "backends", "protocol"), BOTH))
def test_the_next_connection_may_be_an_endpoints_that_has_just_come(
    node: Datapath, pod: str, vip: str, backends: list[str], protocol: Protocol
) -> None:
    live = Live(node, vip, backends[:1], protocol).now(scheduler=Scheduler.RR)
    assert set(live.asked(pod, range(40000, 40004))) == set(backends[:1])
    live.now(backends[:2])
    assert set(live.asked(pod, range(41000, 41002))) == set(backends[:2])


@pytest.fixture(scope="module")
def device() -> Iterator[int]:
    """The uplink, in a namespace that has routes."""
    with routed() as ifindex:
        yield ifindex


INTERNAL, EXTERNAL = Scope.SCOPE_INTERNAL, Scope.SCOPE_EXTERNAL


@pytest.mark.parametrize("protocol", [6, 17], ids=["TCP", "UDP"])
@pytest.mark.parametrize(
    ("program", "scope", "src", "dst", "backend", "local"),
    [
        pytest.param("pod_ingress", INTERNAL, POD, VIP, NODE, True, id="5 the API server here, from a pod, IPv4"),
        pytest.param("pod_ingress", INTERNAL, POD6, VIP6, NODE6, True, id="5 the API server here, from a pod, IPv6"),
        pytest.param("pod_ingress", INTERNAL, POD, VIP, FAR, False, id="5 37 on another node, from a pod, IPv4"),
        pytest.param("pod_ingress", INTERNAL, POD6, VIP6, FAR6, False, id="5 37 on another node, from a pod, IPv6"),
        pytest.param("uplink_egress", INTERNAL, NODE, VIP, FAR, False, id="5 37 from the host network, IPv4"),
        pytest.param("uplink_egress", INTERNAL, NODE6, VIP6, FAR6, False, id="5 37 from the host network, IPv6"),
        pytest.param("uplink_ingress", EXTERNAL, CLIENT, VIP, NODE, True, id="37 here, from outside, IPv4"),
        pytest.param("uplink_ingress", EXTERNAL, CLIENT6, VIP6, NODE6, True, id="37 here, from outside, IPv6"),
    ],
)
def test_endpoints_on_a_nodes_network_are_reached(  # a way, and who is where on it
    node: Datapath,
    device: int,
    program: str,
    scope: Scope,
    src: str,
    dst: str,
    backend: str,
    local: bool,  # noqa: FBT001 - a parameter of the test
    protocol: int,
) -> None:
    node.service(dst, 443, [(backend, 6443, local)], protocol=protocol, scope=scope)
    make = syn if protocol == 6 else datagram
    done = node.run(program, frame(src, dst, make(dport=443)), *[device] * (program != "pod_ingress"))
    assert done.reason is DropReason.DROP_NONE
    assert (addresses(done.packet), ports(done.packet)[1]) == ((src, backend), 6443)
