"""A node that was moved from bridge and host-local: its running pods keep their addresses until they end."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path
from threading import Thread

import pytest

from agent.cni.commands import Cni
from agent.cni.interfaces import OwnInterfaces
from agent.ipam.pool import Ipam
from agent.kernel.portmap import Container
from agent.log import TextFormatter
from agent.model.address import Network
from agent.pods.errors import InterfaceTaken
from agent.pods.imported import Imported
from agent.pods.journal import Journal
from agent.pods.pods import Pods
from tests.agent.cni.room import Room, without_networks
from tests.agent.pods.nic.nic_node import device_commands
from tests.agent.pods.test_host_local import remember, reserve, result

TWO, THREE, FOUR = (f"10.0.0.{number}" for number in (2, 3, 4))


@dataclass
class Moved(Room):
    """A node whose Node object asks for the import, or will."""

    devices: set[str] = field(default_factory=lambda: {"veth1a2b3c4d"})
    cidrs: tuple[Network, ...] = (ip_network("10.0.0.0/29"),)
    ports: dict[str, str] = field(default_factory=dict)  # of containers: why host ports lead to them for ever

    meanwhile: Callable[[], None] = lambda: None  # while host ports are removed
    asked: list[list[str]] = field(default_factory=list)  # to remove the host ports of these containers

    def remove_ports(self, containers: Iterable[Container]) -> dict[Container, str]:
        """As portmap's."""
        those = [*containers]
        self.asked.append([container_id for _, container_id in those])
        self.meanwhile()
        return {one: self.ports[one[1]] for one in those if one[1] in self.ports}

    @property
    def files(self) -> Path:
        """Where host-local's and libcni's are."""
        return self.directory.parent / "cni"

    def start(self) -> tuple[()]:
        """As an agent that begins."""
        self.ipam = Ipam(lambda: (ip_network(self.cidr),))
        imported = Imported(self.files, lambda: self.cidrs, self.ipam, lambda: self.devices, self.remove_ports)
        journal = Journal(self.directory, "boot")
        pods = Pods(loop=self.loop, journal=journal, ipam=self.ipam, veths=self.veths, imported=imported)
        networks, vfs = without_networks(self.directory), device_commands(self.directory)
        self.cni = Cni(pods, networks, self.ipam, OwnInterfaces(pods, self.ipam, (self.veths.faults,), vfs), vfs)
        self.cni.restore()
        return ()

    def given(self, container: str) -> str:
        """The address that a new pod gets."""
        code, answer = self.call("ADD", container)
        assert code == 0, answer
        return str(answer["ips"][0]["address"]).partition("/")[0]  # type: ignore[index]

    def left(self) -> list[str]:
        """Addresses that host-local's files still name."""
        return sorted(path.name for path in (self.files / "networks").glob("*/*"))


@pytest.fixture
def node(tmp_path: Path) -> Moved:
    made = Moved(tmp_path / "attachments")
    reserve(made.files, TWO, "old1\r\neth0")
    reserve(made.files, FOUR, "old2")
    return made


def test_addresses_of_running_pods_are_given_to_nobody(node: Moved) -> None:
    assert {node.given(f"c{number}") for number in range(3)} == {THREE, "10.0.0.5", "10.0.0.6"}
    code, answer = node.call("ADD", "c9")
    assert (code, "used up" in str(answer["msg"])) == (11, True)
    assert node.left() == [TWO, FOUR]


def test_a_fixed_address_of_a_running_pod_is_refused(node: Moved) -> None:
    code, answer = node.call("ADD", "c1", {"runtimeConfig": {"ips": [TWO]}})
    assert (code, f"{TWO} is another pod's" in str(answer["msg"])) == (11, True)


@pytest.mark.parametrize(("container", "address"), [("old1", TWO), ("old2", FOUR)], ids=["newer form", "older form"])
def test_an_old_pods_del_frees_its_address(node: Moved, container: str, address: str) -> None:
    node.given("c1")
    assert node.call("DEL", container) == (0, {})
    assert address not in node.left()
    assert not node.ipam.holds(ip_address(address))
    assert node.call("DEL", container) == (0, {})


def test_a_del_of_another_interface_frees_nothing(node: Moved) -> None:
    reserve(node.files, "10.0.0.5", "old3\r\nnet1")
    node.call("DEL", "old3")
    assert "10.0.0.5" in node.left()


def test_addresses_outside_the_pod_cidrs_are_left_to_their_plugin(node: Moved) -> None:
    reserve(node.files, "192.168.7.2", "old1\r\neth0", "storage")
    node.call("DEL", "old1")
    assert node.left() == [FOUR, "192.168.7.2"]


@pytest.mark.parametrize(("container", "address"), [("old1", TWO), ("old2", FOUR)], ids=["newer form", "older form"])
def test_a_pod_that_is_added_again_has_its_address(node: Moved, container: str, address: str) -> None:
    assert node.given(container) == address
    assert address not in node.left()
    assert node.given("c1") not in {TWO, FOUR}
    node.start()
    assert node.ipam.holds(ip_address(address))
    node.call("DEL", container)
    assert not node.ipam.holds(ip_address(address))


def test_an_add_again_that_fails_keeps_the_address_for_the_next(node: Moved) -> None:
    node.veths.error = InterfaceTaken("eth0")
    assert node.call("ADD", "old1")[0] == 4
    node.veths.error = None
    assert TWO not in {node.given(f"c{number}") for number in range(3)}
    assert node.given("old1") == TWO


def test_a_new_agent_finds_them_again(node: Moved) -> None:
    node.given("c1")
    node.start()
    assert node.given("c2") not in {TWO, FOUR}


def test_a_pod_whose_device_is_gone_is_collected_and_one_that_lives_stays(node: Moved) -> None:
    remember(node.files, "cbr0-old1-eth0", {"result": result()})
    remember(node.files, "cbr0-old2-eth0", {"result": result("veth99999999")})
    node.cni.collect()
    assert node.left() == [TWO]
    assert (node.ipam.holds(ip_address(TWO)), node.ipam.holds(ip_address(FOUR))) == (True, False)


def test_the_runtimes_gc_ends_what_it_does_not_name(node: Moved) -> None:
    valid = [{"containerID": "old2", "ifname": "eth0"}]
    assert node.call("GC", config={"name": "cbr0", "cni.dev/valid-attachments": valid}) == (0, {})
    assert node.left() == [FOUR]


@pytest.mark.parametrize("network", ["sluiceway", "storage"])
def test_a_gc_of_another_network_frees_no_address(node: Moved, network: str) -> None:
    assert node.call("GC", config={"name": network, "cni.dev/valid-attachments": []}) == (0, {})
    assert node.left() == [TWO, FOUR]
    assert node.given("c1") not in {TWO, FOUR}


def test_an_address_that_host_ports_lead_to_is_nobodys_until_they_are_gone(
    node: Moved, caplog: pytest.LogCaptureFixture
) -> None:
    node.ports["old1"] = "chain CNI-DN-1 is there"
    assert node.call("DEL", "old1") == (0, {})
    assert TWO not in {node.given(f"c{number}") for number in range(3)}
    node.cni.collect()
    assert [TextFormatter().format(record) for record in caplog.records][-1].endswith('why="chain CNI-DN-1 is there"')
    assert caplog.text.count("host ports lead to a pod from before") == 1
    assert node.left() == [TWO, FOUR]
    node.ports.clear()
    node.cni.collect()
    assert (node.left(), node.given("c9")) == ([FOUR], TWO)


def test_pods_start_while_host_ports_of_those_that_ended_are_removed_together(node: Moved) -> None:
    node.devices.clear()
    for container in ("old1", "old2"):
        remember(node.files, f"cbr0-{container}-eth0", {"result": result()})
    given: list[str] = []

    def start() -> None:
        starting = Thread(target=lambda: given.append(node.given("c1")), daemon=True)
        starting.start()
        starting.join(60)
        assert given

    node.meanwhile = start
    node.cni.collect()
    assert node.asked == [["old1", "old2"]]
    assert given[0] not in {TWO, FOUR}
    assert node.left() == []


def test_a_pod_that_is_added_again_while_its_end_is_seen_to_keeps_its_address(node: Moved) -> None:
    node.devices.clear()
    remember(node.files, "cbr0-old2-eth0", {"result": result()})
    given: list[str] = []
    adding = Thread(target=lambda: given.append(node.given("old2")), daemon=True)

    def begin() -> None:
        node.meanwhile = lambda: None
        adding.start()
        until = time.monotonic() + 60
        while not node.loop.attached:
            assert time.monotonic() < until
            time.sleep(0.01)

    node.meanwhile = begin
    node.cni.collect()
    adding.join(60)
    assert (given, node.left()) == ([FOUR], [TWO])
    assert node.ipam.holds(ip_address(FOUR))


def test_a_reservation_that_comes_or_goes_later_is_followed(node: Moved) -> None:
    node.given("c1")
    reserve(node.files, THREE, "late\r\neth0")
    (node.files / "networks/cbr0" / TWO).unlink()
    assert {node.given(f"c{number}") for number in (2, 3)} == {TWO, "10.0.0.6"}


def test_without_the_annotation_nothing_is_kept_and_nothing_is_touched(node: Moved) -> None:
    node.cidrs = ()
    node.start()
    assert node.given("c1") == TWO
    node.call("DEL", "old2")
    node.cni.collect()
    assert node.left() == [TWO, FOUR]


def test_an_annotation_that_goes_lets_the_addresses_go(node: Moved) -> None:
    node.cni.collect()
    assert node.ipam.holds(ip_address(FOUR))
    node.cidrs = ()
    node.cni.collect()
    assert not node.ipam.holds(ip_address(FOUR))
    assert node.left() == [TWO, FOUR]


def test_a_bad_file_is_told_once_and_costs_nobody_else(node: Moved, caplog: pytest.LogCaptureFixture) -> None:
    bad = reserve(node.files, THREE, "")
    node.given("c1")
    reserve(node.files, FOUR, "late", "another")  # read again
    assert THREE in {node.given("c2"), node.given("c3")}
    assert caplog.text.count("is passed over") == 1
    assert bad.exists()
