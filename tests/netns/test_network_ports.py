"""Host ports of further interfaces on the wire: real agents, real namespaces."""

import os
import sys
from collections.abc import Iterator

import pytest

from tests.netns.agents import Node
from tests.netns.pods import Runtime
from tests.netns.test_network import addresses, asks, definition, flags, is_clean, links, make, write
from tests.netns.test_network_first import runtime
from tests.netns.test_pods import ASK, SERVE, serves

__all__ = ["runtime"]

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

OWN = ("192.0.2.1", "2001:db8::1")
PORT, TO = 54323, 8080
# a datagram's answer leaves from the address that was asked
BOUND = SERVE.replace('s.bind((""', "s.bind((sys.argv[2 + (family == socket.AF_INET6)]")
TARGETS = [(protocol, own) for protocol in ("TCP", "UDP") for own in OWN]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node with an agent; no socket is given a backend, so that packets are."""
    made = make(f"swport{os.getpid()}", tmp_path_factory.mktemp("p") / "n")
    made.ip("addr add 2001:db8::1/64 dev u0 nodad")
    write(made, [definition("ours", type="sluiceway-cni", kind="veth")])
    with made.agent_runs(*flags(made), "--socket-lb=off"):
        yield made
    made.remove()


def asked(runtime: Runtime, pod: str, protocol: str, own: str, *source: str) -> str:
    """What a client in a pod hears at the host port; *source* is the address that it asks from."""
    return runtime.inside(pod, sys.executable, "-c", ASK, protocol, own, str(PORT), *source).strip()


def ports() -> list[dict[str, int | str]]:
    return [{"hostPort": PORT, "containerPort": TO, "protocol": protocol} for protocol in ("tcp", "udp")]


def test_a_pod_reaches_its_further_interface_by_the_nodes_address(served: Node, runtime: Runtime) -> None:
    """From each of its addresses, and others as they do a host port of a first interface."""
    pod, other = runtime.make(), runtime.make()
    code, result = runtime.call("ADD", pod, **asks([{"name": "ours", "portMappings": ports()}]))
    assert code == 0, result
    assert runtime.call("ADD", other)[0] == 0
    there = links(runtime, pod)
    first, further = addresses(there["eth0"]), addresses(there["net1"])
    elsewhere = addresses(links(runtime, other)["eth0"])
    with serves(pod, "heard", *further, program=BOUND):
        for protocol, own in TARGETS:
            is_v6 = ":" in own
            assert asked(runtime, other, protocol, own) == f"heard {elsewhere[is_v6]}", "the client is seen"
            for source in (first, further):
                assert asked(runtime, pod, protocol, own, source[is_v6]) == f"heard {own}", (protocol, own, source)
    for one in (pod, other):
        assert runtime.call("DEL", one) == (0, {})
    assert is_clean(served, runtime)


def test_a_pods_first_interface_is_reached_from_a_further_one(runtime: Runtime) -> None:
    pod = runtime.make()
    config = asks("ours")
    config["runtimeConfig"]["portMappings"] = [{**one, "hostIP": ""} for one in ports()]
    assert runtime.call("ADD", pod, **config)[0] == 0
    there = links(runtime, pod)
    further = addresses(there["net1"])
    with serves(pod, "heard", *addresses(there["eth0"]), program=BOUND):
        for protocol, own in TARGETS:
            assert asked(runtime, pod, protocol, own, further[":" in own]) == f"heard {own}", (protocol, own)
    assert runtime.call("DEL", pod) == (0, {})
