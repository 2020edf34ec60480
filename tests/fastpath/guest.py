"""Runs in the guest: real VFs go into pods and come back as they were, wherever the agent dies.

Traffic stays in the emulated cards, which know VLANs and addresses as real ones do; how fast they may send, they keep
alone. What is as it was, iproute2 and sysfs say.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from agent.cni.capabilities import ANNOTATIONS
from agent.compile.network_config import plugin_list
from agent.model.cluster import Cluster
from agent.model.name import ObjectName
from agent.model.network import NETWORKS, NetworkDefinition
from agent.pods import fail_points
from agent.pods.device_info import FOLDER as DEVICE_INFO
from agent.pods.network_record import FOLDER, read
from tests.fastpath import cards, nic_kept
from tests.fastpath.agent_node import RUN, STATE, AgentNode, stdin
from tests.fastpath.cards import run, wait_for
from tests.fastpath.guards import guarded, guarded_kinds
from tests.fastpath.site import IPAM, Guest
from tests.fastpath.user_space import user_space

VFS = 3  # of each card
MACS = ("02:00:00:00:00:0a", "02:00:00:00:00:0b")
CONFIG, TRY_LATER, ENVIRONMENT = 7, 11, 4
NOBODY = 65534


def main(folder: str, which: str = "without", *names: str) -> int:
    """All of it "without" those that are named, or these "only"; the status is the number of failures.

    *folder* has DPDK.
    """
    began = time.monotonic()
    first, second = cards.set_up(VFS)
    guest = Guest(first, second, dpdk=Path(folder))
    guest.before = guest.now()
    print(f"cards are ready after {time.monotonic() - began:.1f} s", flush=True)
    guest.vfs = guest.node.start()
    failures = []
    tests = (guarded, guarded_kinds, kept, netdev, isolation, own_devices, refusals, bad_values, dead_pods, vfio)
    for test in (*tests, user_space, further, delegated, crashes):
        if (test.__name__ in names) is not (which == "only"):
            continue
        failures += tried(test.__name__, partial(test, guest))
        for name in tuple(guest.node.pods):  # of one that failed
            guest.node.end_pod(name)
    guest.node.stop()
    print(f"all took {time.monotonic() - began:.1f} s; failed: {failures}", flush=True)
    return len(failures)


def tried(what: str, do: Callable[[], None]) -> list[str]:
    """Do it and say how it went; what failed, if it did."""
    began = time.monotonic()
    try:
        do()
    except Exception as error:  # noqa: BLE001  the next one is tried
        print(f"FAILED: {what}: {error!r}", flush=True)
        return [what]
    print(f"{what}: passed in {time.monotonic() - began:.1f} s", flush=True)
    return []


def kept(guest: Guest) -> None:
    """What is above the cards' devices stays what pods were given, and changes nothing of others'."""
    guest.node.stop()
    try:
        for test in (nic_kept.try_modes, nic_kept.try_losses, nic_kept.try_pf):
            test(guest)
    finally:
        guest.vfs = guest.node.start()


def netdev(guest: Guest) -> None:
    """A VF becomes net1 of a pod with all that its definition says, and is afterwards what it was."""
    node, function = guest.node, guest.first.vfs[1]
    node.pod("one")
    spec = guest.definition(
        function, vlan=100, vlanQoS=3, mac=MACS[0], spoofchk="off", trust="on", max_tx_rate=200, mtu=1300
    )
    answer = node.ok("ADD", "one", spec)
    (interface,) = answer["interfaces"]
    assert interface == {
        "name": "net1",
        "mac": MACS[0],
        "mtu": 1300,
        "sandbox": "/run/netns/one",
        "pciID": function,
    }, interface
    told = cards.vf(guest.first, function)
    assert told["address"] == MACS[0], told
    assert told["vlan_list"][0] == {"vlan": 100, "qos": 3}, told
    assert (told["spoofchk"], told["trust"], told["rate"]["max_tx"]) == (False, True, 200), told
    (device,) = cards.devices_in("one")
    assert (device["name"], device["mac"], device["mtu"], device["up"]) == ("net1", MACS[0], 1300, True), device
    (address,) = (ip["address"] for ip in answer["ips"])
    assert address in run("ip", "-n", "one", "address", "show", "net1"), address
    ways = run("ip", "-n", "one", "route")
    assert all(f"{to} via 10.9.0.1 dev net1" in ways for to in ("10.8.0.0/16", "default")), ways
    node.ok("CHECK", "one", {**spec, "prevResult": answer})
    run("ip", "-n", "one", "link", "set", "net1", "down")
    code, error = node.call("CHECK", "one", {**spec, "prevResult": answer})
    assert (code, "net1 is down" in error["details"]) == (100, True), error
    node.ok("DEL", "one", spec)
    guest.restored("DEL")
    node.ok("DEL", "one", spec)
    node.end_pod("one")


def isolation(guest: Guest) -> None:
    """VFs of one VLAN reach each other and nobody of another.

    The emulated card knows no check of senders: that it is asked for is all that can be seen.
    """
    node, (one, two, three) = guest.node, guest.first.vfs
    for name, function, vlan in (("one", one, 100), ("two", two, 100), ("three", three, 200)):
        node.pod(name)
        node.ok("ADD", name, guest.definition(function, vlan=vlan))
    others = {name: cards.address_in(name, "net1") for name in ("one", "two", "three")}
    wait_for("VFs of one VLAN reach each other", lambda: ping("one", others["two"]))
    assert not ping("one", others["three"]), "VLAN 100 reaches VLAN 200"
    assert not ping("three", others["two"]), "VLAN 200 reaches VLAN 100"
    assert all(cards.vf(guest.first, function)["spoofchk"] for function in (one, two, three))
    for name in ("one", "two", "three"):
        node.ok("DEL", name, guest.definition(one), netns=name != "two")  # without a namespace it is all the same
        node.end_pod(name)
    guest.restored("DELs")


def own_devices(guest: Guest) -> None:
    """A VF that a pod has renamed and given other names comes home; so does one whose name another device took."""
    node, function = guest.node, guest.first.vfs[0]
    name = guest.before[0][function]["devices"][0]["name"]
    node.pod("one")
    node.ok("ADD", "one", guest.definition(function))
    run("ip", "-n", "one", "link", "set", "net1", "down")
    run("ip", "-n", "one", "link", "set", "net1", "name", "mine")
    run("ip", "-n", "one", "link", "property", "add", "dev", "mine", "altname", "card-b-0")
    run("ip", "link", "add", name, "type", "bridge")
    node.ok("DEL", "one", guest.definition(function))
    home = cards.snapshot(guest.first)[function]["devices"][0]
    assert home["name"].startswith("swv"), home
    run("ip", "link", "del", name)
    assert guest.vfs
    guest.vfs.collect()
    guest.restored("a name that was taken")
    node.end_pod("one")


def refusals(guest: Guest) -> None:
    """What cannot be is refused with its key, and nothing is left of it."""
    node, function = guest.node, guest.first.vfs[1]
    node.pod("one")
    node.pod("two")
    for more, code, words in (
        ({"link_state": "enable"}, CONFIG, ("link_state: enable", "igb", guest.first.device)),
        ({"vlan": 5, "vlanProto": "802.1ad"}, CONFIG, ("vlan: 5", "802.1ad", "igb")),
        ({"min_tx_rate": 100, "max_tx_rate": 200}, CONFIG, ("max_tx_rate: 200", "min_tx_rate 100", "igb")),
        ({"mtu": 9000}, CONFIG, ("mtu: 9000", "1500", guest.first.device)),
        ({"deviceID": "0000:77:00.0"}, CONFIG, ("deviceID", "no PCI function 0000:77:00.0")),
        ({"deviceID": guest.first.address}, CONFIG, ("deviceID", "is no VF")),
        ({"ipam": {"type": "no-such-plugin"}}, TRY_LATER, ("ipam", "no-such-plugin")),
    ):
        refused(node, "one", guest.definition(function, **more), code, *words)
        guest.restored(f"a refused {more}")
    name = guest.before[0][function]["devices"][0]["name"]
    run("ip", "address", "add", "192.0.2.9/24", "dev", name)
    refused(node, "one", guest.definition(function), CONFIG, "deviceID", name, "192.0.2.9")
    run("ip", "address", "del", "192.0.2.9/24", "dev", name)
    run("ip", "-n", "one", "link", "add", "net1", "type", "bridge")
    refused(node, "one", guest.definition(function), ENVIRONMENT, "CNI_IFNAME", "net1 exists already")
    guest.restored("a name that the pod has")
    run("ip", "-n", "one", "link", "del", "net1")
    node.ok("ADD", "one", guest.definition(function))
    refused(node, "two", guest.definition(function), TRY_LATER, "deviceID", "net1 of default/one", "still there")
    refused(node, "one", guest.definition(guest.first.vfs[2]), ENVIRONMENT, "DEL comes first")
    assert cards.devices_in("one"), "the one that has it has it no more"
    node.ok("DEL", "one", guest.definition(function))
    guest.restored("one that was asked for twice")
    node.end_pod("one")
    node.end_pod("two")


def bad_values(guest: Guest) -> None:
    """A key with a value that cannot be is named before anything is looked at."""
    node, function = guest.node, guest.first.vfs[1]
    for more, key in (({"vlan": 4095}, "vlan"), ({"spoofchk": "yes"}, "spoofchk"), ({"kind": "srivo"}, "kind")):
        refused(node, "none", guest.definition(function, **more), CONFIG, f"{key}: ")


def refused(node: AgentNode, pod: str, config: Mapping[str, Any], code: int, *words: str) -> None:
    """ADD fails so, and its message has these words."""
    failed, answer = node.call("ADD", pod, config)
    assert failed == code, (failed, answer)
    assert all(word in answer["msg"] for word in words), (words, answer)


def dead_pods(guest: Guest) -> None:
    """A namespace that ends takes no VF along: it comes home under the pod's name, and is put right by who notices."""
    node, (one, two, _), vfs = guest.node, guest.first.vfs, guest.vfs
    assert vfs
    for by in ("collect", "DEL", "another ADD", "the next agent"):
        for name, function in (("one", one), ("two", two)):
            node.pod(name)
            node.ok("ADD", name, guest.definition(function, vlan=100, mac=MACS[0], spoofchk="off", mtu=1300))
        node.end_pod("one")
        node.end_pod("two")
        match by:
            case "collect":
                vfs.collect()
            case "DEL":
                node.ok("DEL", "one", guest.definition(one), netns=False)
                node.ok("DEL", "two", guest.definition(two))
            case "another ADD":
                node.pod("three")
                node.ok("ADD", "three", guest.definition(one))
                node.ok("DEL", "three", guest.definition(one))
                node.end_pod("three")
                vfs.collect()
            case _:
                node.stop()
                guest.vfs = node.start()
        guest.restored(f"dead pods, by {by}")


def vfio(guest: Guest) -> None:
    """A VF goes to vfio-pci and back; its group's file opens to a user who is not root, and its addresses are told."""
    node, function = guest.node, guest.second.vfs[0]
    node.pod("one")
    spec = guest.definition(function, kind="dpdk", vlan=300, max_tx_rate=500, uid=NOBODY, gid=NOBODY)
    answer = node.ok("ADD", "one", spec)
    told = cards.vf(guest.second, function)
    mac = guest.before[1][function]["devices"][0]["mac"]
    assert cards.driver(function) == "vfio-pci"
    assert (told["spoofchk"], told["trust"], told["vlan_list"][0]["vlan"]) == (True, False, 300), told
    assert (told["address"], told["rate"]["max_tx"]) == (mac, 500), told
    assert answer["interfaces"] == [
        {"name": "net1", "mac": mac, "mtu": 1500, "sandbox": "/run/netns/one", "pciID": function}
    ], answer
    file = Path("/dev/vfio") / cards.group(function)
    assert (file.stat().st_uid, file.stat().st_mode & 0o777) == (NOBODY, 0o660), file.stat()
    opened = subprocess.run(
        ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "sh", "-c", f"exec 3<>{file}"],
        check=False,
    )
    assert opened.returncode == 0, "nobody cannot open the group"
    shown = cards.shown(RUN / "vf" / function / "interface.json")
    assert shown["ips"] == [ip["address"] for ip in answer["ips"]], shown
    assert shown["devices"] == ["/dev/vfio/vfio", str(file)], shown
    assert not cards.devices_in("one")
    node.ok("CHECK", "one", {**spec, "prevResult": answer})
    with file.open("rb+", buffering=0):  # an application that has not ended
        code, error = node.call("DEL", "one", spec)
        assert (code, "a process has" in error["msg"]) == (TRY_LATER, True), error
    node.ok("DEL", "one", spec)
    guest.restored("vfio")
    cards.bind(function, "vfio-pci")
    before = guest.now()
    node.ok("ADD", "one", {**spec, "kind": "sriov"})  # as sriov-cni, which looks what has it
    node.ok("DEL", "one", spec)
    assert guest.now() == before, "a VF that VFIO had before is not as it was"
    cards.bind(function, "igbvf")
    cards.name(function, guest.before[1][function]["devices"][0])
    guest.restored("a VF that VFIO had before")
    node.end_pod("one")


def further(guest: Guest) -> None:
    """By definitions a pod has a VF of each card behind its veth, which are the devices that it was given."""
    node, netdev_vf, dpdk_vf = guest.node, guest.first.vfs[0], guest.second.vfs[0]
    node.given = {"example.com/vf": (netdev_vf, dpdk_vf)}
    found = (
        further_network("fast", kind="sriov", vlan=100, ipam=IPAM),
        further_network("user", kind="dpdk", ipam=IPAM),
    )
    node.cluster = Cluster(networks={one.name: one for one in found})
    node.pod("one")
    asks = asking("fast@vf0, user")
    node.ok("ADD", "one", asks, interface="eth0")
    assert {device["name"] for device in cards.devices_in("one")} == {"eth0", "vf0"}, cards.devices_in("one")
    ways = run("ip", "-n", "one", "route")
    assert ("10.8.0.0/16 via 10.9.0.1 dev vf0" in ways, ways.count("default")) == (True, 1), ways
    assert "default via 169.254.1.1 dev eth0" in ways, ways
    assert cards.vf(guest.first, netdev_vf)["vlan_list"][0]["vlan"] == 100
    assert cards.driver(dpdk_vf) == "vfio-pci"
    (record,) = read(STATE / FOLDER)
    told = {one["interface"]: one.get("device-info", {}).get("pci") for one in json.loads(record.status)}
    pci = {
        "vf0": {"pci-address": netdev_vf, "pf-pci-address": guest.first.address},
        "net2": {"pci-address": dpdk_vf, "pf-pci-address": guest.second.address},
    }
    assert told == {"eth0": None, **pci}, told
    node.ok("DEL", "one", asks, interface="eth0")
    guest.restored("a DEL of further networks")
    assert not [*DEVICE_INFO.glob("cni/*")]
    node.end_pod("one")


def further_network(name: str, resource: str = "example.com/vf", **config: Any) -> NetworkDefinition:
    """A definition, of our plugin if it names no other, of the resource that pods have devices of."""
    plugins = plugin_list(json.dumps({"cniVersion": "1.0.0", "type": "sluiceway-cni", **config}), name)
    return NetworkDefinition(ObjectName("default", name), plugins, resource)


def delegated(guest: Guest) -> None:
    """Pods have interfaces of others' plugins, which reach each other over the wire between the cards."""
    node, of_pod = guest.node, {"one": (guest.first, guest.before[0]), "two": (guest.second, guest.before[1])}
    for kind in ("macvlan", "ipvlan", "vlan", "host-device"):
        for pod, (card, before) in of_pod.items():
            vf = before[card.vfs[0]]["devices"][0]["name"]
            run("ip", "link", "set", vf, "up")  # the emulated card has no VLAN filters of its own beside VFs
            more = {
                "macvlan": {"master": card.device, "mode": "bridge"},
                "ipvlan": {"master": card.device},
                "vlan": {"master": vf, "vlanId": 50},
                "host-device": {"device": vf},
            }
            network = further_network(kind, "", type=kind, ipam=IPAM, **more[kind])
            node.cluster = Cluster(networks={network.name: network})
            node.pod(pod)
            node.ok("ADD", pod, asking(kind), interface="eth0")
        other = cards.address_in("two", "net1")
        wait_for(f"{kind} reaches {kind}", partial(ping, "one", other))
        for pod, (card, before) in of_pod.items():
            node.ok("DEL", pod, asking(kind), interface="eth0")
            node.end_pod(pod)
            run("ip", "link", "set", before[card.vfs[0]]["devices"][0]["name"], "down")
        guest.restored(f"a DEL of {kind}")


def asking(network: str) -> Mapping[str, Any]:
    """The cluster's configuration, for a pod that asks for one network more."""
    return {"name": "sluiceway", "runtimeConfig": {ANNOTATIONS: {NETWORKS: network}}}


def crashes(guest: Guest) -> None:
    """An agent that dies at any point leaves what the next one puts right."""
    node = guest.node
    node.stop()
    for kind, function in (("sriov", guest.first.vfs[1]), ("dpdk", guest.second.vfs[1])):
        spec = guest.definition(function, kind=kind, vlan=100, mac=MACS[1], spoofchk="off", max_tx_rate=300)
        node.pod("one")
        for point in fail_points.VF_ADD:
            assert node.die_at(point, "ADD", "one", spec), point
            cni, _ = node.parts()
            if point == fail_points.VF_ADD[-1]:  # it is whole, whether the runtime has heard of it or not
                code, output = cni.answer(node.environment("DEL", "one"), stdin(spec))
                assert code == 0, output
            guest.restored(f"{kind}: {point}")
        for point in fail_points.VF_DEL:
            cni, _ = node.parts()
            code, output = cni.answer(node.environment("ADD", "one"), stdin(spec))
            assert code == 0, output
            assert node.die_at(point, "DEL", "one", spec), point
            node.parts()
            guest.restored(f"{kind}: {point}")
        print(f"{kind}: {len(fail_points.VF_ADD) + len(fail_points.VF_DEL)} points", flush=True)
        node.end_pod("one")
    node.start()


def ping(pod: str, address: str) -> bool:
    """Whether an answer comes."""
    asked = subprocess.run(
        ["ip", "netns", "exec", pod, "ping", "-c1", "-W2", address], capture_output=True, check=False
    )
    return asked.returncode == 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
