"""Devices above the cards' are what pods were given, whoever changes them; and what others have is not changed."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from agent.cni.commands import Cni
from tests.fastpath import cards
from tests.fastpath.agent_node import AgentNode, stdin
from tests.fastpath.cards import run
from tests.fastpath.site import IPAM, Guest

CONFIG, CHECK = 7, 100
ROUTE = "10.8.0.0/16"
NO_IPV6 = "net.ipv6.conf.default.disable_ipv6=1"


def try_modes(guest: Guest) -> None:
    """A mode is that of all above one device: none is switched by an ADD, and what a pod switches is set back."""
    below = guest.first.device
    two, other = _ipvlan(below), _ipvlan(below, mode="l3")
    with _agent(guest.node) as cni:
        given = _ok(guest.node, cni, "ADD", "one", two)
        _refused(guest.node, cni, "two", other, f"mode: {below} has ipvlan devices of mode l2, default/one's")
        assert _mode("one") == "l2", _mode("one")
        _ok(guest.node, cni, "ADD", "two", two)
        run("ip", "-n", "two", "link", "set", "net1", "type", "ipvlan", "mode", "l3s")
        assert _mode("one") == "l3s", "this kernel keeps them apart"
        _faulty(guest.node, cni, "one", {**two, "prevResult": given}, "net1 is of mode l3s, not l2")
        cni.collect()
        assert (_mode("one"), _mode("two")) == ("l2", "l2")
        _ok(guest.node, cni, "CHECK", "one", {**two, "prevResult": given})
        for pod in ("one", "two"):
            _ok(guest.node, cni, "DEL", pod, two)
        small = _ipvlan(below, mtu=1000)  # on which the kernel has no IPv6
        given = _ok(guest.node, cni, "ADD", "one", small)
        _ok(guest.node, cni, "CHECK", "one", {**small, "prevResult": given})
        _ok(guest.node, cni, "DEL", "one", small)
        run("ip", "link", "add", "own0", "link", below, "type", "ipvlan", "mode", "l3s")
        _refused(guest.node, cni, "one", two, f"mode: {below} has ipvlan devices of mode l3s, the node's")
        run("ip", "link", "del", "own0")
    guest.restored("modes of ipvlan")


def try_losses(guest: Guest) -> None:
    """Routes and a link-local address that went while a device was down are there again."""
    (spare,) = guest.before[0][guest.first.vfs[0]]["devices"]
    vf = guest.definition(guest.first.vfs[1])
    each = {"ipvlan": _ipvlan(guest.first.device), "sriov": vf, "vlan": _vlan(spare["name"])}
    run("ip", "link", "set", spare["name"], "up")
    with _agent(guest.node) as cni:
        run("ip", "netns", "exec", "one", "sysctl", "-qw", NO_IPV6)
        for what, config in each.items():
            given = _ok(guest.node, cni, "ADD", "one", config)
            before = _has("one")
            assert before[0] == before[1] == 1, (what, before)
            down = ("link", "set", spare["name"]) if what == "vlan" else ("-n", "one", "link", "set", "net1")
            for state in ("down", "up"):
                run("ip", *down, state)
            cards.wait_for("net1 is up", lambda: "UP" in _link("one")["flags"])
            _faulty(guest.node, cni, "one", {**config, "prevResult": given}, f"net1 has not the route to {ROUTE}")
            cni.collect()
            assert _has("one") == before, (what, _has("one"))
            _ok(guest.node, cni, "CHECK", "one", {**config, "prevResult": given})
            _ok(guest.node, cni, "DEL", "one", config)
    run("ip", "link", "set", spare["name"], "down")
    guest.restored("losses of devices")


def try_pf(guest: Guest) -> None:
    """A PF that has VFs is no pod's own."""
    with _agent(guest.node) as cni:
        config = {"kind": "host-device", "device": guest.first.device, "ipam": IPAM}
        _refused(guest.node, cni, "one", config, f"device: {guest.first.device} has {len(guest.first.vfs)} VFs")
    guest.restored("a PF")


@contextmanager
def _agent(node: AgentNode) -> Iterator[Cni]:
    """An agent that nobody else asks, with two pods."""
    cni, _ = node.parts()
    for pod in ("one", "two"):
        node.pod(pod)
    yield cni
    for pod in ("one", "two"):
        node.end_pod(pod)


def _ipvlan(below: str, **more: Any) -> dict[str, Any]:
    return {"kind": "ipvlan", "master": below, "ipam": IPAM, **more}


def _vlan(below: str) -> dict[str, Any]:
    return {"kind": "vlan", "master": below, "vlanId": 60, "ipam": IPAM}


def _answer(node: AgentNode, cni: Cni, command: str, pod: str, config: Mapping[str, Any]) -> tuple[int, Any]:
    code, output = cni.answer(node.environment(command, pod), stdin(config))
    return code, json.loads(output or b"{}")


def _ok(node: AgentNode, cni: Cni, command: str, pod: str, config: Mapping[str, Any]) -> Any:
    code, answer = _answer(node, cni, command, pod, config)
    assert code == 0, (command, pod, answer)
    return answer


def _refused(node: AgentNode, cni: Cni, pod: str, config: Mapping[str, Any], words: str) -> None:
    code, answer = _answer(node, cni, "ADD", pod, config)
    assert (code, words in answer.get("msg", "")) == (CONFIG, True), (words, answer)


def _faulty(node: AgentNode, cni: Cni, pod: str, config: Mapping[str, Any], words: str) -> None:
    code, answer = _answer(node, cni, "CHECK", pod, config)
    assert (code, words in answer.get("details", "")) == (CHECK, True), (words, answer)


def _link(pod: str) -> Any:
    (told,) = json.loads(run("ip", "-n", pod, "-j", "-d", "link", "show", "net1"))
    return told


def _mode(pod: str) -> str:
    return str(_link(pod)["linkinfo"]["info_data"]["mode"])


def _has(pod: str) -> tuple[int, int]:
    """How many link-local addresses net1 has, and routes of its IPAM plugin's."""
    six = run("ip", "-n", pod, "-6", "address", "show", "dev", "net1", "scope", "link")
    return six.count("inet6 fe80"), run("ip", "-n", pod, "route", "show", ROUTE).count("net1")
