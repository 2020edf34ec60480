"""VFs of pods: given whole, as their definitions say, or not at all."""

from collections.abc import Callable
from pathlib import Path

import pytest

from agent.kernel.device.pci import HugePages
from agent.model.name import ObjectName
from agent.model.node import Pod
from agent.model.vf import NodeOwner, VfKind, VfSettings, VfSpec
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
from agent.pods.vf.request import VfRequest
from tests.agent.pods.vf.vf_card import ADDRESS, OTHER, VfNode

SETTINGS = VfSettings(vlan=100, vlan_qos=3, mac="02:00:00:00:00:0a", spoofchk=False, trust=True, max_tx_rate=200)
NETDEV, DPDK = VfSpec(VfKind.NETDEV, SETTINGS, 1300), VfSpec(VfKind.DPDK, SETTINGS, owner=NodeOwner(1000, 1000))
KEY = ("c1", "net1")
IP = {"address": "10.9.0.2/24"}


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


REFUSED: list[tuple[str, type[PodRefused], str, Callable[[VfNode], object], VfRequest]] = [
    ("no such VF", DeviceUnusable, "deviceID: there is no", lambda _: None, request(address="0000:77:00.0")),
    ("no such namespace", NetnsUnusable, "p9", lambda _: None, request(netns="/run/netns/p9")),
    (
        "a port of a bridge",
        DeviceUnusable,
        "^deviceID: 0000:03:02.0: br0 of the node would lose ens1v0$",
        lambda n: n.card.above.update({ADDRESS: ("br0",)}),
        request(),
    ),
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


def test_a_vf_has_one_pod(node: VfNode) -> None:
    agent = node.agent()
    agent.add(request())
    with pytest.raises(DeviceInUse, match="net1 of default/c1, which is still there"):
        agent.add(request(container="c2", netns="/run/netns/p2"))
    with pytest.raises(AlreadyAttached):
        agent.add(request(address=OTHER))
    assert node.card.where[ADDRESS] == "/run/netns/p1"


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
