"""Policy and services on real VFs: what is denied never arrives, whatever the pod does with its device."""

import errno
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

from agent.compile.policy import PEER_PODS
from agent.kernel.device.vf_programs import HOOKS
from agent.kernel.programs.load import Loaded, OfInterface
from agent.model.cluster import Cluster
from agent.model.name import ObjectName
from agent.model.node import Pod
from agent.model.policy import (
    CLUSTER_NETWORK_POLICY,
    MULTI_NETWORK_POLICY,
    NETWORK_POLICY,
    Operator,
    PodPeer,
    Policy,
    PortRange,
    Requirement,
    Rule,
    Selector,
)
from agent.model.service import Protocol
from agent.netlink.netns import inside
from agent.pods import fail_points
from maps import abi, libbpf, paths
from maps.abi import DropReason
from maps.pins import PinRoot
from tests.agent.kernel.device.hostile import came, hostile, listening
from tests.agent.kernel.device.vf_maps import PORT, SERVICE, SIZES, TAKEN_OFF
from tests.fastpath import cards
from tests.fastpath.agent_node import PINS, AgentNode, stdin
from tests.fastpath.cards import run, wait_for
from tests.fastpath.site import IPAM, Guest

VIP = "10.96.0.9"
CLOSED = PORT + 1
FAST = ObjectName("default", "fast")
HOSTILE = "10.9.0.77"
OWN_RULES = abi.RULES_FIRST + 100  # a set that no policy of the tests' has
PATIENCE_S, SOON_S = 90.0, 3.0  # for an answer, and for a device that may still have to come up
GUARDED = ("VF ADD hidden", "VF ADD guarded", "VF ADD moved")  # programs are not on a half-made VF, on it, in the pod


def guarded(guest: Guest) -> None:
    """Policy and a service hold on VFs, whatever their pods do, and nothing of it is on a VF that is at home."""
    with _guarding(guest) as node:
        one, two = guest.first.vfs[:2]
        vfs = {"one": guest.definition(one, vlan=100), "two": guest.definition(two, vlan=100)}
        _try_policy(node, guest, vfs)
        guest.restored("VFs with programs")
        _try_crashes(node, guest)


def guarded_kinds(guest: Guest) -> None:
    """The same of what our plugin makes of devices of the node."""
    with _guarding(guest) as node:
        for what, of in _own_kinds(guest):
            _try_policy(node, guest, of)
            print(f"{what}: policy and a service hold", flush=True)
        guest.restored("devices of the node with programs")


@contextmanager
def _guarding(guest: Guest) -> Iterator[AgentNode]:
    """The agent's parts with the programs for VFs."""
    node = guest.node
    node.stop()
    with _loaded() as programs:
        node.programs = programs
        node.start()
        yield node
        node.stop()
        node.programs = None
    guest.vfs = node.start()


def _own_kinds(guest: Guest) -> Iterator[tuple[str, Mapping[str, Mapping[str, Any]]]]:
    """What our plugin makes of devices of the node, for two pods: over the wire between the cards, but for one mode."""
    spare = [before[card.vfs[0]]["devices"][0]["name"] for card, before in zip(guest.cards, guest.before, strict=True)]
    pfs = [card.device for card in guest.cards]
    each: dict[str, list[dict[str, Any]]] = {
        "macvlan": [{"master": pf} for pf in pfs],
        "ipvlan": [{"master": pf} for pf in pfs],
        "ipvlan l3": [{"master": pfs[0], "mode": "l3"}] * 2,  # the node routes what leaves it
        "vlan": [{"master": vf, "vlanId": 50} for vf in spare],
        "host-device": [{"device": vf} for vf in spare],
    }
    for what, configs in each.items():
        for vf in spare:
            run("ip", "link", "set", vf, "up")  # the emulated card has no VLAN filters of its own beside VFs
        kind, pods = what.partition(" ")[0], zip(("one", "two"), configs, strict=True)
        yield what, {pod: {"kind": kind, "ipam": IPAM, **config} for pod, config in pods}
        for vf in spare:
            run("ip", "link", "set", vf, "down")


@contextmanager
def _loaded() -> Iterator[OfInterface]:
    """The programs for VFs, and the maps that they share."""
    path = paths.objects() / "tc_vf.bpf.o"
    pins = PinRoot(PINS)
    pins.lock()
    with closing(Loaded({"tc_vf": path}, pins.generation("one"), SIZES)) as shared:
        yield shared.of_interface(path, SIZES)
    pins.unlock()


def _try_policy(node: AgentNode, guest: Guest, of: Mapping[str, Mapping[str, Any]]) -> None:
    """Two pods with a device each: a MultiNetworkPolicy opens a port of one to the other, which asks a service, too.

    *of* has the configuration of the device of the pods one and two.
    """
    static = {"type": "static", "addresses": [{"address": f"{HOSTILE}/24"}]}
    configs = {"two": of["two"], "one": {**of["one"], "ipam": static}}
    for name in configs:
        node.pod(name)
    node.ok("ADD", "two", configs["two"])
    asked, asking = HOSTILE, cards.address_in("two", "net1")
    node.maps.fill([(asked, VIP)])
    _add_and_hold_at_once(node, configs["one"], asking)
    run("ip", "-n", "two", "route", "add", VIP, "via", asked)
    wait_for("the devices reach each other", lambda: _reaches("two", asked, CLOSED, "one", asked))
    assert _reaches("two", VIP, SERVICE, "one", asked), "a service is not reached through the device"
    node.maps.govern(governed(app="other"), FAST)
    _dropped(node, DropReason.DROP_POLICY_INGRESS, ("two", asked), ("one", asked), port=PORT)  # whom no peer means
    node.maps.govern(governed(app="client"), FAST)
    _hold(node, asked)
    for command in TAKEN_OFF:
        subprocess.run(["ip", "netns", "exec", "one", *command.split()], check=False, capture_output=True)
    wait_for("net1 is up again", lambda: _reaches("two", asked, PORT, "one", asked))
    _hold(node, asked)
    assert _reaches("two", VIP, SERVICE, "one", asked), "a service is not reached where policy opens its port"
    node.stop()
    node.start()
    assert {each.interface for each in node.maps.attached.values()} == {"net1"}
    _hold(node, asked)
    run("ip", "-n", "one", "address", "add", "10.9.0.99/24", "dev", "net1")
    _dropped(node, DropReason.DROP_SOURCE_ADDRESS, ("one", asking), ("two", asking), source="10.9.0.99")
    for name, config in configs.items():
        node.ok("DEL", name, config)
        node.end_pod(name)
    _none_left(guest)


def governed(**client: str) -> Cluster:
    """Two pods, and a policy by which who has a label, on the network that it is for, reaches a port of one."""
    pods = (Pod(_pod("one"), labels=(("app", "web"),)), Pod(_pod("two"), labels=(*client.items(),)))
    peer = PodPeer(_labelled("client"), namespace="default", networks=frozenset({FAST}))
    rule = Rule(peers=(peer,), ports=(PortRange(Protocol.TCP, PORT, PORT),))
    subject = PodPeer(_labelled("web"), namespace="default")
    policy = Policy(_pod("further"), subject, ingress=(rule,), networks=frozenset({FAST}))
    kinds = frozenset({NETWORK_POLICY, CLUSTER_NETWORK_POLICY, MULTI_NETWORK_POLICY, PEER_PODS})
    return Cluster(
        pods={one.name: one for one in pods}, multi_policies={policy.name: policy}, listed=kinds, synced=True
    )


def _try_crashes(node: AgentNode, guest: Guest) -> None:
    """An agent dies with programs on a device, or just before; the next one leaves nothing of them."""
    node.stop()
    spec = guest.definition(guest.first.vfs[1], vlan=100)
    node.pod("one")
    for point in GUARDED:
        assert node.die_at(point, "ADD", "one", spec), point
        node.parts()
        guest.restored(point)
        _none_left(guest)
    (spare,) = guest.before[0][guest.first.vfs[0]]["devices"]
    run("ip", "link", "set", spare["name"], "up")
    vlan = {"kind": "vlan", "master": spare["name"], "vlanId": 50, "ipam": IPAM}  # one has it at a time
    assert node.die_at("NIC ADD guarded", "ADD", "one", vlan)
    cni, _ = node.parts()
    code, output = cni.answer(node.environment("ADD", "one"), stdin(vlan))
    assert code == 0, output
    cni.answer(node.environment("DEL", "one"), stdin(vlan))
    run("ip", "link", "set", spare["name"], "down")
    guest.restored("a VLAN's device of an agent that died")
    _none_left(guest)
    cni, _ = node.parts()
    code, output = cni.answer(node.environment("ADD", "one"), stdin(spec))
    assert code == 0, output
    assert node.die_at(fail_points.VF_DEL[2], "DEL", "one", spec)
    node.parts()
    guest.restored(fail_points.VF_DEL[2])
    _none_left(guest)
    node.end_pod("one")
    node.start()


def _pod(name: str) -> ObjectName:
    return ObjectName("default", name)


def _labelled(app: str) -> Selector:
    return Selector((Requirement("app", Operator.IN, frozenset({app})),))


def _hold(node: AgentNode, asked: str) -> None:
    """The port that is open is reached, and what is for another one is dropped."""
    assert _reaches("two", asked, PORT, "one", asked), "what policy lets pass does not come"
    _dropped(node, DropReason.DROP_POLICY_INGRESS, ("two", asked), ("one", asked))


def _add_and_hold_at_once(node: AgentNode, config: Mapping[str, Any], asking: str) -> None:
    """What is denied comes from no pod either of which a process waits for the device, and sets it up at once."""
    mac = cards.devices_in("two")[0]["mac"]
    node.maps.rule(OWN_RULES)
    node.maps.born = OWN_RULES
    denied, allowed = 0, 0
    until = time.monotonic() + PATIENCE_S
    with listening("/run/netns/two", "net1") as wire, hostile("/run/netns/one", mac, HOSTILE, asking):
        node.ok("ADD", "one", config)
        while not allowed and time.monotonic() < until:
            time.sleep(0.1)
            counted = came(wire)
            denied, allowed = denied + counted[0], allowed + counted[1]
    node.maps.born = abi.RULES_NONE
    for attachment in node.maps.attached.values():
        node.maps.say(attachment)
    assert (denied, bool(allowed)) == (0, True), (denied, allowed)


def _reaches(client: str, address: str, port: int, server: str, at: str) -> bool:
    """Whether a pod's connection to an address arrives at another pod's socket, and is answered."""
    at_port = PORT if port == SERVICE else port
    with _listening(server, at, at_port) as listening, _socket(client) as asking:
        asking.settimeout(SOON_S)
        if asking.connect_ex((address, port)):
            return False
        for each in (asking, listening):
            each.settimeout(PATIENCE_S)
        answering, _ = listening.accept()
        with answering:
            answering.sendall(b"here")
            return asking.recv(4) == b"here"


def _dropped(
    node: AgentNode,
    reason: DropReason,
    client: tuple[str, str],
    server: tuple[str, str],
    *,
    source: str = "",
    port: int = CLOSED,
) -> None:
    """What a pod sends to another's port is dropped for this reason, and does not arrive.

    *client* is the pod and the address that it asks, *server* the pod and its own.
    """
    before = node.maps.dropped(reason)
    with _listening(*server, port) as listening, _socket(client[0]) as asking:
        for each in (asking, listening):
            each.settimeout(0)
        if source:
            asking.bind((source, 0))
        failed = asking.connect_ex((client[1], port))
        assert failed == errno.EINPROGRESS, os.strerror(failed)
        wait_for(f"something is dropped for {reason.name}", lambda: node.maps.dropped(reason) > before)
        try:
            listening.accept()
        except BlockingIOError:
            return
    raise AssertionError(f"what is to be dropped for {reason.name} has come")


def _listening(pod: str, address: str, port: int) -> socket.socket:
    with inside(f"/run/netns/{pod}"):
        return socket.create_server((address, port))


def _socket(pod: str) -> socket.socket:
    with inside(f"/run/netns/{pod}"):
        return socket.socket()


def _none_left(guest: Guest) -> None:
    """No VF at home has a program, and no pin is there."""
    assert not list((PINS / "vfs").iterdir()), "pins are left"
    for function in guest.first.vfs:
        (name,) = cards.devices_of(function)
        for hook in HOOKS.values():
            assert not libbpf.program_query(socket.if_nametoindex(name), hook), f"{name} has programs at home"
