"""VFs of pods: given whole or not at all, and afterwards what they were, wherever the agent died."""

import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.kernel.device.pci import DeviceRefused, HugePages
from agent.model.name import ObjectName
from agent.model.node import Pod
from agent.model.vf import NodeOwner, VfKind, VfSettings, VfSpec
from agent.pods import fail_points
from agent.pods.attachments import made_mac
from agent.pods.device.record import DeviceStage
from agent.pods.errors import (
    AlreadyAttached,
    DeviceInUse,
    DeviceUnusable,
    InterfaceTaken,
    NetnsUnusable,
    NoFreeAddress,
    PodRefused,
)
from agent.pods.plugin import PluginFailed
from agent.pods.vf.request import VfRequest
from tests.agent.pods.vf.vf_card import ADDRESS, HOME, OTHER, VfNode

SETTINGS = VfSettings(vlan=100, vlan_qos=3, mac="02:00:00:00:00:0a", spoofchk=False, trust=True, max_tx_rate=200)
NETDEV, DPDK = VfSpec(VfKind.NETDEV, SETTINGS, 1300), VfSpec(VfKind.DPDK, SETTINGS, owner=NodeOwner(1000, 1000))
KEY = ("c1", "net1")
IP = {"address": "10.9.0.2/24"}


class Died(BaseException):
    """The process is gone: nothing behind it is done."""


def request(
    spec: VfSpec = NETDEV, container: str = "c1", netns: str = "/run/netns/p1", address: str = ADDRESS
) -> VfRequest:
    pod = ObjectName("default", container)
    return VfRequest(spec, "fast", container, "net1", netns, pod, config={"ipam": {"type": "fake"}}, address=address)


@pytest.fixture
def node(tmp_path: Path) -> VfNode:
    return VfNode(tmp_path)


def test_a_netdev_has_what_its_definition_says_and_the_answer_tells_it(node: VfNode) -> None:
    record = node.agent().add(request())
    vf = node.card.look(ADDRESS)
    assert (record.stage, record.mac, record.mtu) == (DeviceStage.ADDED, SETTINGS.mac, 1300)
    assert (vf.settings.vlan, vf.settings.vlan_qos, vf.settings.max_tx_rate) == (100, 3, 200)
    assert node.card.where[ADDRESS] == "/run/netns/p1"
    assert node.card.devices[ADDRESS].name == "net1"
    assert node.ipam.held == {KEY: ADDRESS}
    assert node.claimed == [ADDRESS], "its neighbours may know the addresses by another MAC"


def test_dpdk_has_the_group_for_its_user_and_its_addresses_in_a_file(node: VfNode) -> None:
    agent = node.agent()
    agent.add(request(DPDK))
    assert node.card.vfs[ADDRESS].driver == "vfio-pci"
    assert (node.card.files["7"].uid, node.card.files["7"].mode) == (1000, 0o660)
    told = (node.directory / "run/vf" / ADDRESS / "interface.json").read_text()
    assert '"/dev/vfio/7"' in told
    assert '"10.9.0.2/24"' in told
    assert not tuple(agent.check(record) for record in agent.all() if tuple(agent.check(record)))


def test_dpdk_has_an_address_also_where_nobody_has_set_one(node: VfNode) -> None:
    """As with drivers whose PFs set none, and a VF that VFIO had before: the card's check of senders is held to it."""
    node.card.bind(ADDRESS, "vfio-pci", "vfio-pci")
    before, agent = node.card.snapshot(), node.agent()
    record = agent.add(request(VfSpec(VfKind.DPDK, VfSettings())))
    vf = node.card.look(ADDRESS)
    assert record.mac == vf.settings.mac == made_mac(*KEY)
    assert (record.mac[:2], vf.settings.spoofchk, vf.settings.trust) == ("02", True, False)
    assert record.mac in (node.directory / "run/vf" / ADDRESS / "interface.json").read_text()
    agent.delete(KEY)
    assert node.card.snapshot() == before


def die_at(point: str) -> Callable[[str], None]:
    def reached(now: str) -> None:
        if now == point:
            raise Died

    return reached


@pytest.mark.parametrize("spec", [NETDEV, DPDK], ids=["netdev", "dpdk"])
@pytest.mark.parametrize("netns_ends", [False, True], ids=["its pod lives", "its pod is gone too"])
@pytest.mark.parametrize("point", [*fail_points.VF_ADD, *fail_points.VF_DEL])
def test_an_agent_that_dies_anywhere_leaves_what_the_next_one_puts_right(
    node: VfNode, spec: VfSpec, point: str, monkeypatch: pytest.MonkeyPatch, *, netns_ends: bool
) -> None:
    before, agent = node.card.snapshot(), node.agent()
    is_del = point in fail_points.VF_DEL
    if is_del:
        agent.add(request(spec))
    monkeypatch.setattr(fail_points, "reached", die_at(point))
    with pytest.raises(Died):
        agent.delete(KEY) if is_del else agent.add(request(spec))
    monkeypatch.undo()
    if netns_ends:
        node.card.end_netns("/run/netns/p1")
    agent = node.agent()
    if point == fail_points.VF_ADD[-1] and not netns_ends:  # whole, though its runtime has not heard of it
        assert agent.find(KEY) is not None
        agent.delete(KEY)
    assert node.card.snapshot() == before
    assert (node.ipam.held, node.files()) == ({}, [])
    assert (node.programs.on, node.loop.attached) == ({}, {})


@given(
    points=st.lists(st.sampled_from([*fail_points.VF_ADD, *fail_points.VF_DEL, ""]), max_size=6),
    spec=st.sampled_from([NETDEV, DPDK]),
)
def test_agents_that_die_one_after_the_other_lose_nothing(
    points: list[str], spec: VfSpec, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Also while the next one puts right what the last one left."""
    node = VfNode(tmp_path_factory.mktemp("node"))
    before = node.card.snapshot()
    for point in points:
        fail_points.reached, plain = die_at(point), fail_points.reached
        try:
            agent = node.agent()
            if agent.find(KEY) is None:
                agent.add(request(spec))
            agent.delete(KEY)
        except Died:
            pass
        finally:
            fail_points.reached = plain
    node.agent().delete(KEY)
    assert node.card.snapshot() == before
    assert (node.ipam.held, node.files()) == ({}, [])
    assert (node.programs.on, node.loop.attached) == ({}, {})


@pytest.mark.parametrize("by", ["collect", "DEL", "another ADD", "a start"])
def test_the_vf_of_a_pod_that_went_without_a_del_comes_home(node: VfNode, by: str) -> None:
    before, agent = node.card.snapshot(), node.agent()
    agent.add(request())
    node.card.end_netns("/run/netns/p1")
    assert node.card.where[ADDRESS] == HOME
    match by:
        case "collect":
            agent.collect()
        case "DEL":
            agent.delete(KEY)
        case "another ADD":
            agent.add(request(container="c2", netns="/run/netns/p2"))
            agent.delete(("c2", "net1"))
        case _:
            node.agent()
    assert node.card.snapshot() == before
    assert (node.ipam.held, node.files()) == ({}, [])
    assert (node.programs.on, node.loop.attached) == ({}, {})


def test_a_living_pods_vf_is_left_alone_by_a_start_and_by_a_look(node: VfNode) -> None:
    node.agent().add(request())
    with_pod = node.card.snapshot()
    node.agent().collect()
    assert node.card.snapshot() == with_pod


@pytest.mark.parametrize("call", ["netns_cookie", "in_pod"])
def test_a_vf_of_whom_nothing_can_be_seen_stays_with_its_pod(
    node: VfNode, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def short(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    agent = node.agent()
    agent.add(request())
    with_pod, files = node.card.snapshot(), node.files()
    with monkeypatch.context() as patched:
        patched.setattr(node.card, call, short)
        agent.collect()
        node.agent()
    assert node.card.snapshot() == with_pod
    assert (node.files(), len(agent.all())) == (files, 1)


def test_a_look_for_dead_pods_leaves_a_vf_to_the_add_that_is_at_it(
    node: VfNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = node.agent()
    looked: list[str] = []

    def look(point: str) -> None:
        if point in fail_points.VF_ADD and not looked:
            looked.append(point)
            agent.collect()

    monkeypatch.setattr(fail_points, "reached", look)
    record = agent.add(request())
    assert looked
    assert (record.stage, node.card.where[ADDRESS]) == (DeviceStage.ADDED, "/run/netns/p1")


def test_after_a_reboot_there_is_nothing_to_restore(node: VfNode) -> None:
    node.agent().add(request())
    folder = node.directory / "state/vfs"
    (folder / "boot").rename(folder / "an earlier boot")
    agent = node.agent()
    assert (agent.all(), list(folder.iterdir())) == ((), [])


REFUSED: list[tuple[str, type[PodRefused], str, Callable[[VfNode], object], VfRequest]] = [
    ("no such VF", DeviceUnusable, "deviceID: there is no", lambda _: None, request(address="0000:77:00.0")),
    ("no such namespace", NetnsUnusable, "p9", lambda _: None, request(netns="/run/netns/p9")),
    ("too large an MTU", DeviceUnusable, "mtu: 9000", lambda _: None, request(VfSpec(VfKind.NETDEV, SETTINGS, 9000))),
    (
        "a driver refuses a key",
        DeviceUnusable,
        "trust: on.*no such thing",
        lambda n: n.card.refuses.update(trust="no such thing"),
        request(),
    ),
    (
        "vfio does not bind",
        DeviceUnusable,
        "vfio-pci does not take",
        lambda n: n.card.refuses.update({"vfio-pci": "x"}),
        request(DPDK),
    ),
    (
        "the pod has the name",
        InterfaceTaken,
        "net1 exists",
        lambda n: n.card.taken.add(("/run/netns/p1", "net1")),
        request(),
    ),
    ("no address is left", NoFreeAddress, "full", lambda n: n.ipam.refuses.add("ADD"), request()),
]


@pytest.mark.parametrize(("error", "words", "prepare", "spec"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_what_is_refused_leaves_nothing(
    node: VfNode, error: type[PodRefused], words: str, prepare: Callable[[VfNode], object], spec: VfRequest
) -> None:
    before, agent = node.card.snapshot(), node.agent()
    prepare(node)
    with pytest.raises(error, match=words):
        agent.add(spec)
    assert node.card.snapshot() == before
    assert (node.files(), agent.all()) == ([], ())


@pytest.mark.parametrize("spec", [NETDEV, DPDK], ids=["netdev", "dpdk"])
def test_a_vf_whose_pf_has_no_device_now_comes_home_when_it_has(node: VfNode, spec: VfSpec) -> None:
    before, agent = node.card.snapshot(), node.agent()
    agent.add(request(spec))
    node.card.is_pf_away = True
    with pytest.raises(DeviceRefused, match="has no network device"):
        agent.delete(KEY)
    assert "has no network device" in next(agent.problems("n1", {})).text
    agent = node.agent()
    node.card.is_pf_away = False
    agent.collect()
    assert (node.card.snapshot(), agent.all(), node.files()) == (before, (), [])


@pytest.mark.parametrize("starts", [False, True])
@pytest.mark.parametrize("spec", [NETDEV, DPDK], ids=["netdev", "dpdk"])
def test_a_vf_whose_name_is_taken_is_no_pods_until_it_has_it(node: VfNode, spec: VfSpec, *, starts: bool) -> None:
    before, agent = node.card.snapshot(), node.agent()
    agent.add(request(spec))
    node.card.taken.add((HOME, "ens1v0"))
    assert agent.delete(KEY), "the pod may go"
    comings = node.card.comings
    agent = node.agent() if starts else agent
    agent.collect()
    with pytest.raises(DeviceInUse, match="the name ens1v0"):
        agent.add(request(container="c2", netns="/run/netns/p2"))
    assert "the name ens1v0" in next(agent.problems("n1", {})).text
    assert (node.card.comings, node.card.devices[ADDRESS].mac) == (comings, "02:00:00:00:00:00"), "it is left alone"
    node.card.taken.clear()
    agent.collect()
    assert (node.card.snapshot(), agent.all(), node.files()) == (before, (), [])


def test_a_vf_that_lacks_its_name_and_settings_has_both_again(node: VfNode) -> None:
    before, agent = node.card.snapshot(), node.agent()
    agent.add(request())
    node.card.taken.add((HOME, "ens1v0"))
    node.card.refuses = {"vlan": "busy"}
    with pytest.raises(DeviceRefused, match="busy; the name ens1v0"):
        agent.delete(KEY)
    node.card.taken.clear()
    node.card.refuses = {}
    agent.collect()
    assert (node.card.snapshot(), agent.all(), node.files()) == (before, (), [])


@pytest.mark.parametrize("spec", [NETDEV, DPDK], ids=["netdev", "dpdk"])
def test_what_the_pf_forgets_of_a_pods_vf_is_told_and_set_again(node: VfNode, spec: VfSpec) -> None:
    """As after a reset of the card, or an operator's hand."""
    agent = node.agent()
    record = agent.add(request(spec))
    given = node.card.vfs[ADDRESS].settings
    agent.collect()
    assert not tuple(agent.check(record))
    other = replace(given, vlan=0, vlan_qos=0, spoofchk=True, min_tx_rate=50, max_tx_rate=0)
    node.card.vfs[ADDRESS] = replace(node.card.vfs[ADDRESS], settings=other)
    assert tuple(agent.check(record)) == (
        "vlan is not 100 (vlanQoS 3, vlanProto 802.1q) any more",
        "max_tx_rate is not 200 (min_tx_rate 50) any more",
        "spoofchk is not off any more",
    )
    agent = node.agent()
    agent.collect()
    assert node.card.vfs[ADDRESS].settings == replace(given, min_tx_rate=50)
    assert not tuple(agent.check(record))


def test_a_vf_that_cannot_be_as_its_pod_was_given_it_is_a_problem_until_it_is(node: VfNode) -> None:
    agent = node.agent()
    agent.add(request(VfSpec(VfKind.NETDEV, VfSettings())))
    vf = node.card.vfs.pop(ADDRESS)
    agent.collect()
    (problem,) = agent.problems("n1", {})
    assert problem.text == f"net1 of default/c1 is not as it was given: there is no PCI function {ADDRESS} on this node"
    node.card.vfs[ADDRESS] = vf
    agent.collect()
    assert not tuple(agent.problems("n1", {}))


def test_an_address_that_a_trusted_vf_chooses_is_its_own(node: VfNode) -> None:
    agent = node.agent()
    record = agent.add(request())
    chosen = replace(node.card.vfs[ADDRESS].settings, mac="02:00:00:00:00:77")
    node.card.vfs[ADDRESS] = replace(node.card.vfs[ADDRESS], settings=chosen)
    agent.collect()
    assert (node.card.vfs[ADDRESS].settings, tuple(agent.check(record))) == (chosen, ())


@pytest.mark.parametrize(
    ("gives", "says"),
    [
        pytest.param({"ips": [{"address": "10.9.0.2/33"}]}, "'10.9.0.2/33' does not appear to be", id="no address"),
        pytest.param(
            {"ips": ["10.9.0.2/24"]}, r"ips: \['10.9.0.2/24'\] is no list of objects", id="a text for an address"
        ),
        pytest.param(
            {"ips": [IP], "routes": "10.8.0.0/16"}, "routes: '10.8.0.0/16' is no list of", id="a text for routes"
        ),
        pytest.param({"ips": [IP], "routes": [{"dst": "10.8.0.0/16", "mtu": "big"}]}, "mtu: 'big' is", id="no number"),
    ],
)
@pytest.mark.parametrize("spec", [NETDEV, DPDK], ids=["netdev", "dpdk"])
def test_what_an_ipam_plugin_answers_amiss_is_told_and_the_vf_is_what_it_was(
    node: VfNode, spec: VfSpec, gives: dict[str, object], says: str
) -> None:
    before, agent = node.card.snapshot(), node.agent()
    node.ipam.gives = gives
    with pytest.raises(DeviceUnusable, match=f"^ipam: the plugin's answer cannot be used: .*{says}"):
        agent.add(request(spec))
    assert (node.card.snapshot(), agent.all(), node.ipam.held) == (before, (), {})


def test_a_vf_that_is_gone_is_nobodys(node: VfNode) -> None:
    agent = node.agent()
    agent.add(request())
    del node.card.vfs[ADDRESS]
    agent.delete(KEY)
    assert (agent.all(), node.files(), node.programs.on, node.loop.attached) == ((), [], {}, {})


def test_a_vf_has_one_pod(node: VfNode) -> None:
    agent = node.agent()
    agent.add(request())
    with pytest.raises(DeviceInUse, match="net1 of default/c1, which is still there"):
        agent.add(request(container="c2", netns="/run/netns/p2"))
    with pytest.raises(AlreadyAttached):
        agent.add(request(address=OTHER))
    assert node.card.where[ADDRESS] == "/run/netns/p1"


def test_a_vf_that_cannot_come_home_is_tried_again_and_given_to_nobody(node: VfNode) -> None:
    before, agent = node.card.snapshot(), node.agent()
    agent.add(request())
    del node.card.netns["/run/netns/p1"]  # its path; somebody holds the namespace
    agent.collect()
    with pytest.raises(DeviceInUse, match="nobody names"):
        agent.add(request(container="c2", netns="/run/netns/p2"))
    node.card.where[ADDRESS] = HOME
    agent.collect()
    assert node.card.snapshot() == before
    assert agent.all() == ()


def test_a_setting_that_cannot_be_restored_keeps_the_vf_from_others_until_it_is(node: VfNode) -> None:
    before, agent = node.card.snapshot(), node.agent()
    agent.add(request())
    node.card.refuses["vlan"] = "not now"
    with pytest.raises(DeviceRefused, match="is not as it was: vlan: 0"):
        agent.delete(KEY)
    with pytest.raises(DeviceInUse, match="not now"):
        agent.add(request(container="c2", netns="/run/netns/p2"))
    (problem,) = agent.problems("n1", {})
    assert (problem.kind, problem.field, "not now" in problem.text) == ("Node", f"VF {ADDRESS}", True)
    node.card.refuses.clear()
    agent.collect()
    assert node.card.snapshot() == before
    assert not tuple(agent.problems("n1", {}))


def test_a_driver_that_takes_no_address_back_is_no_reason_to_keep_a_vf(node: VfNode) -> None:
    agent = node.agent()
    agent.add(request())
    node.card.refuses["mac"] = "no zeros"
    agent.delete(KEY)
    assert agent.all() == ()


def test_what_ipam_does_not_take_back_is_tried_again_with_the_vf_at_home(node: VfNode) -> None:
    before, agent = node.card.snapshot(), node.agent()
    agent.add(request())
    node.ipam.refuses.add("DEL")
    with pytest.raises(PluginFailed):
        agent.delete(KEY)
    assert node.card.snapshot() == before
    node.ipam.refuses.clear()
    agent.delete(KEY)
    assert (node.ipam.held, node.files()) == ({}, [])
    assert (node.programs.on, node.loop.attached) == ({}, {})


def test_what_a_writer_that_died_left_goes_with_the_next_start(node: VfNode) -> None:
    node.agent().add(request())
    draft = node.directory / f"state/vfs/boot/{OTHER}.draft"
    draft.write_bytes(b'{"address":')
    node.agent()
    assert not draft.exists()


def test_a_late_request_to_remove_spares_a_younger_vf(node: VfNode) -> None:
    agent = node.agent()
    agent.add(replace(request(), asked_at_ns=500))
    assert agent.delete(KEY, asked_at_ns=499)
    assert agent.find(KEY) is not None
    assert agent.delete(KEY, asked_at_ns=501)
    assert not agent.delete(KEY)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda content: content[:-9], id="cut"),
        pytest.param(lambda content: content.replace(b"/run/netns", b"\xff"), id="not UTF-8"),
    ],
)
def test_a_record_that_cannot_be_read_keeps_its_vf_from_pods_and_is_told(
    node: VfNode, spoil: Callable[[bytes], bytes]
) -> None:
    node.agent().add(request())
    file = node.directory / f"state/vfs/boot/{ADDRESS}.json"
    file.write_bytes(spoil(file.read_bytes()))
    agent = node.agent()
    with pytest.raises(DeviceUnusable, match="cannot be read"):
        agent.add(request(container="c2", netns="/run/netns/p2"))
    (problem,) = agent.problems("n1", {})
    assert ADDRESS in problem.field
    agent.add(request(container="c2", netns="/run/netns/p2", address=OTHER))


@pytest.mark.parametrize(
    ("has", "asked", "resource", "words"),
    [
        pytest.param(HugePages(16, 16), (), None, "", id="nothing is asked for where there are some"),
        pytest.param(HugePages(0, 0), (), "", "none are asked for and the node has none", id="nothing of none"),
        pytest.param(HugePages(16, 0), ((2048, 32768),), None, "", id="there are as many, which it may have by now"),
        pytest.param(
            HugePages(16, 4),
            ((2048, 32769),),
            "['hugepages-2Mi']",
            "17 are asked for, and the node has 16, 4 of them free",
            id="more than there are",
        ),
        pytest.param(
            HugePages(16, 16),
            ((1048576, 1048576),),
            "['hugepages-1Gi']",
            "1 are asked for, and the node has 0, 0 of them free",
            id="of another size",
        ),
    ],
)
def test_a_pod_is_told_of_huge_pages_that_dpdk_will_not_get(
    node: VfNode, has: HugePages, asked: tuple[tuple[int, int], ...], resource: str | None, words: str
) -> None:
    agent, name = node.agent(), ObjectName("default", "c1")
    agent.add(request(DPDK))
    node.card.pages = {2048: has}
    told = [*agent.problems("n1", {name: Pod(name, hugepages=asked)})]
    where = [] if resource is None else [("Pod", name, f"spec.containers[].resources.limits{resource}")]
    assert [(one.kind, one.name, one.field) for one in told] == where
    assert all(f"net1 ({ADDRESS}) is for DPDK" in one.text and words in one.text for one in told)
    assert not tuple(agent.problems("n1", {}))


def test_check_tells_what_is_not_as_it_was(node: VfNode) -> None:
    agent = node.agent()
    record = agent.add(request())
    assert tuple(agent.check(record)) == ()
    node.card.devices[ADDRESS] = replace(node.card.devices[ADDRESS], name="mine")
    node.ipam.held.clear()
    assert tuple(agent.check(record)) == ("net1 is called mine", "ipam: gone")


def test_what_a_device_has_lost_in_its_pod_is_told_by_check_and_set_again(node: VfNode) -> None:
    agent = node.agent()
    record = agent.add(request())
    node.card.gone[ADDRESS] = ("has not the route to 10.8.0.0/16",)
    assert list(agent.check(record)) == ["net1 has not the route to 10.8.0.0/16"]
    agent.collect()
    assert (list(agent.check(record)), list(agent.problems("n1", {}))) == ([], [])


def test_a_device_that_is_not_in_its_pod_any_more_is_a_problem(node: VfNode) -> None:
    agent = node.agent()
    agent.add(request())
    node.card.where[ADDRESS] = "/run/netns/another"
    agent.collect()
    (told,) = agent.problems("n1", {})
    assert (told.field, told.text) == (
        f"VF {ADDRESS}",
        f"net1, the VF {ADDRESS}, is not in the pod any more; delete the Pod",
    )
