"""Pods by their books: which interfaces there are, who is meant by a name, who is in a namespace."""

import os
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import msgspec
import pytest

from agent.model.attachment import AfXdp, Attachment, Veth
from agent.model.name import ObjectName
from agent.model.nic import NicKind
from agent.model.vf import VfKind, VfSettings
from agent.netlink.netns import open_netns
from agent.pods.attachments import Saved, boot_id
from agent.pods.device.record import DeviceStage
from agent.pods.journal import Journal, Stage
from agent.pods.network_record import FOLDER, InterfaceRecord, NetworkRecords, NetworkSet, PluginRecord, Step
from agent.pods.nic.record import NicRecord, nic_journal
from agent.pods.vf.record import VfBefore, VfRecord, vf_journal
from dpctl.errors import Absent
from dpctl.pod import (
    ATTACHMENTS,
    CLOSED,
    UNSEEN,
    PodInterface,
    interface_rows,
    of_pod,
    pod_interfaces,
    process_rows,
    sandbox,
)
from maps import abi

WEB = ObjectName("default", "web")
NETNS = "/run/netns/p1"


def attachment(interface: str, slot: int, container: str = "c1", pod: ObjectName = WEB) -> Attachment:
    link = Veth(f"swp{slot}", 10 + slot, afxdp=AfXdp("x") if interface == "net3" else None)
    mac, address = f"02:00:00:00:00:0{slot}", IPv4Address(f"10.1.0.{slot}")
    return Attachment(container, interface, slot, slot, NETNS, 4711, mac, link, ipv4=address, pod=pod)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The books of a node with two pods of the same name, one of which has an interface of each kind."""
    boot = boot_id()
    journal = Journal(tmp_path / ATTACHMENTS, boot)
    journal.load()
    other = attachment("eth0", 3, "c2", ObjectName("apps", "web"))
    journal.begin(Saved(one, "sluiceway", at) for at, one in enumerate((attachment("eth0", 1), other)))
    further = Saved(attachment("net3", 2), "further/xsk", 3)
    journal.append(Stage.MADE, further.attachment.key, further)
    before = VfBefore("x", "", VfSettings(), None)
    vf = VfRecord(
        stage=DeviceStage.ADDED,
        address="0000:03:02.0",
        kind=VfKind.DPDK,
        network="further/fast",
        container_id="c1",
        interface="net2",
        netns=NETNS,
        netns_cookie=4711,
        before=before,
        asked_at_ns=1,
    )
    vf_journal(tmp_path, boot).put(msgspec.structs.replace(vf, pod=WEB))
    nic = NicRecord(
        stage=DeviceStage.ADDED,
        address="nic_1",
        kind=NicKind.IPVLAN,
        device="eth1",
        network="further/shared",
        container_id="c1",
        interface="net4",
        netns=NETNS,
        netns_cookie=4711,
        asked_at_ns=1,
        pod=WEB,
        number=7,
        slot=7,
    )
    nic_journal(tmp_path, boot).put(nic)
    ours = (PluginRecord("sluiceway-cni", (), "{}"),)
    lan = InterfaceRecord(ObjectName("default", "lan"), "net1", "lan", "1.0.0", (PluginRecord("macvlan", (), "{}"),))
    fast = InterfaceRecord(ObjectName("default", "fast"), "net2", "fast", "1.0.0", ours, device="0000:03:02.0")
    xsk = InterfaceRecord(ObjectName("default", "xsk"), "net3", "xsk", "1.0.0", ours, step=Step.MADE)
    records = NetworkRecords(tmp_path / FOLDER)
    records.put(NetworkSet("c1", "eth0", NETNS, "sluiceway", boot, (lan, fast, xsk), 4711, WEB))
    records.put(NetworkSet("c0", "eth0", NETNS, "sluiceway", "an earlier boot", (lan,), 4710, WEB))
    return tmp_path


def test_every_book_is_read_and_each_interface_is_there_once(state: Path) -> None:
    found = [
        (one.pod, one.interface, one.kind, one.network, one.device)
        for one in pod_interfaces(state)
        if one.pod == "default/web"
    ]
    assert sorted(found) == [
        ("default/web", "eth0", "veth", "sluiceway", "swp1"),
        ("default/web", "net1", "macvlan", "default/lan", ""),
        ("default/web", "net2", "dpdk", "default/fast", "0000:03:02.0"),
        ("default/web", "net3", "afxdp", "default/xsk", "swp2"),
        ("default/web", "net4", "ipvlan", "further/shared", "eth1"),
    ]
    slots = {one.interface: one.slot for one in pod_interfaces(state) if one.pod == "default/web"}
    assert (slots["net2"], slots["net4"]) == (0, 7), "what has programs of ours has a place in the maps"


@pytest.mark.parametrize(
    ("named", "containers"),
    [("default/web", {"c1"}), ("apps/web", {"c2"}), ("c2", {"c2"})],
    ids=["by namespace and name", "the other of that name", "by its container"],
)
def test_a_pod_is_named(state: Path, named: str, containers: set[str]) -> None:
    assert {one.container for one in of_pod(pod_interfaces(state), named)} == containers


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ("web", "web may be apps/web or default/web"),
        ("nobody", "no pod of this node is nobody"),
        ("c", "no pod of this node is c"),
        ("", "no pod of this node is ''"),
    ],
    ids=["two have it", "none has it", "a container's begins so", "no name"],
)
def test_a_name_that_is_not_one_pods_says_so(state: Path, named: str, says: str) -> None:
    with pytest.raises(Absent, match=says):
        of_pod(pod_interfaces(state), named)


def test_a_containers_id_is_known_by_what_tools_show_of_it(state: Path) -> None:
    (one, *_) = pod_interfaces(state)
    long = replace(one, container="0123456789abcdef")
    assert of_pod([long], "0123456789ab") == (long,)
    with pytest.raises(Absent):
        of_pod([long], "0123456789a")


def test_a_command_runs_in_the_namespace_that_add_saw_and_no_other(state: Path) -> None:
    here = Path("/proc/self/ns/net")
    with open_netns(str(here), may_be_host=True) as there:
        cookie = there.cookie
    one = replace(pod_interfaces(state)[0], pod="default/db", container="new", netns=str(here), netns_cookie=cookie)
    old = replace(one, container="old", netns_cookie=cookie + 1)
    assert sandbox([old, one], "db") == one
    with pytest.raises(Absent, match=f"{here} of default/db is gone"):
        sandbox([old], "db")
    with pytest.raises(Absent, match="db has the containers new and newer; name one of them"):
        sandbox([one, replace(one, container="newer")], "db")


@pytest.mark.parametrize(
    ("slot", "policy", "says"),
    [
        pytest.param(0, None, UNSEEN, id="no program of ours is on it"),
        pytest.param(1, None, CLOSED, id="nothing is known of it"),
        pytest.param(1, (abi.RULES_UNKNOWN, abi.RULES_NONE), CLOSED, id="its pod is not known"),
        pytest.param(1, (abi.RULES_NONE, abi.RULES_NONE), "no policy selects it", id="it is open"),
        pytest.param(1, (abi.RULES_FIRST, abi.RULES_NONE), "ingress", id="one direction"),
        pytest.param(1, (abi.RULES_FIRST, abi.RULES_FIRST), "ingress, egress", id="both"),
    ],
)
def test_what_policy_sees_of_an_interface(slot: int, policy: tuple[int, int] | None, says: str) -> None:
    one = PodInterface("default/web", "c1", "eth0", "veth", "sluiceway", "swp1", "/run/netns/none", 0, slot)
    slots = {1: abi.PodPolicy(*policy, abi.PodPolicyFlag.POLICY_SAID, 0)} if policy else {}
    (row,) = interface_rows([one], slots)
    assert (row.policy, row.mtu) == (says, None), "a namespace that is gone has no devices"


def test_who_is_in_a_namespace_is_found_by_it(state: Path) -> None:
    here = replace(pod_interfaces(state)[0], netns="/proc/self/ns/net")
    rows = list(process_rows(here))
    assert os.getpid() in {row.process for row in rows}
    assert {row.inode for row in rows} == {Path("/proc/self/ns/net").stat().st_ino}
    with pytest.raises(Absent, match="/run/netns/none of"):
        list(process_rows(replace(here, netns="/run/netns/none")))
