"""Addresses that other plugins and VFs are given: on the disk before they are told, and free when their pod is gone."""

import errno
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from agent.cni.error import Code
from agent.cni.ipam_commands import IpamCommands, IpamInProcess
from agent.cni.request import ASKED_AT, Request, parse
from agent.model.attachment import AttachmentKey
from agent.model.name import ObjectName
from agent.pods import fail_points
from agent.pods.errors import AddressUnusable, AlreadyAttached, NetnsUnusable, NoFreeAddress
from agent.pods.ip_leases import IpLeases, Lease, LeaseRequest
from agent.pods.plugin import PluginFailed
from agent.pods.pool_choice import PoolChoice
from tests.agent.ipam.block_world import Died, Node, pool, world

V100 = pool("v100", "10.9.0.0/29", network="vlan100", gateways=["10.9.0.1"], blockSize={"ipv4": 29})
RED = pool("red", "10.8.0.0/24", network="vlan8", namespaceSelector={"matchLabels": {"team": "red"}})
WIDE = pool("wide", "10.7.0.0/24", network="vlan7", blockSize={"ipv4": 24})
LAN = pool("lan", "10.60.0.0/24")


@dataclass
class Site:
    """A node's disk and its namespaces."""

    folder: Path
    node: Node = field(init=False)
    cookies: dict[str, int] = field(default_factory=dict)
    boot: str = "b1"
    is_short: bool = False  # of descriptors, so that no namespace can be opened

    def __post_init__(self) -> None:
        _, (self.node,) = world(V100, RED, WIDE, LAN, nodes=1)
        self.start()

    def start(self) -> None:
        """A new agent."""
        self.node.start()
        choice = PoolChoice(self.node.addresses, "n1", self.node.cluster)
        self.leases = IpLeases(self.folder, self.boot, self.node.addresses, choice, self.cookie)
        self.leases.restore()

    def cookie(self, netns: str) -> int | None:
        """What tells a namespace from others."""
        if self.is_short:
            raise OSError(errno.EMFILE, "Too many open files")
        return self.cookies.get(netns)

    def request(self, pod: str, pools: str = "v100", interface: str = "net1") -> LeaseRequest:
        """What is asked for a pod, which is there."""
        self.cookies.setdefault(f"/run/netns/{pod}", len(self.cookies) + 1)
        return LeaseRequest(f"c-{pod}", interface, "lan", pools, f"/run/netns/{pod}", ObjectName("default", pod))

    def add(self, pod: str, **more: str) -> Lease:
        """Its lease."""
        return self.leases.add(self.request(pod, **more))

    def free(self) -> int:
        """How many more can be given, by giving them."""
        given: list[AttachmentKey] = []
        while True:
            try:
                given.append(self.add(f"free{len(given)}").key)
            except NoFreeAddress:
                break
        for key in given:
            self.leases.delete(key)
        return len(given)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "leases")


def test_an_interface_has_its_address_with_the_length_of_the_range_and_the_gateway(site: Site) -> None:
    lease = site.add("web")
    assert (lease.addresses, lease.gateways) == (("10.9.0.2/29",), ("10.9.0.1",))
    assert site.add("web") == lease, "asked again, as after an answer that was lost"
    assert site.free() == 4
    site.start()
    assert (site.leases.all(), site.free()) == ((lease,), 4)
    site.leases.delete(lease.key)
    assert (site.free(), [*site.folder.iterdir()]) == (5, [])


def test_who_may_not_have_it_is_told_the_pool(site: Site) -> None:
    for pools, error, says in (
        ("red", AddressUnusable, "ipam.pool: IPPool red is not for namespace default"),
        ("lan", AddressUnusable, "ipam.pool: IPPool lan is of the cluster's network"),
        ("blue", NoFreeAddress, "ipam.pool: there is no IPPool blue"),
        (" , ", AddressUnusable, "ipam.pool: ' , ' names no IPPool"),
    ):
        with pytest.raises(error, match=says):
            site.add("web", pools=pools)
    with pytest.raises(NetnsUnusable):
        site.leases.add(LeaseRequest("c", "net1", "lan", "v100", "/run/netns/none"))
    site.add("web")
    site.cookies["/run/netns/web"] = 99
    with pytest.raises(AlreadyAttached):
        site.add("web")


@pytest.mark.parametrize("point", [*fail_points.LEASE_ADD, *fail_points.LEASE_DEL])
def test_an_agent_that_dies_at_any_point_leaves_no_address_that_is_nobodys(
    site: Site, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    def strike(now: str) -> None:
        if now == point:
            raise Died

    monkeypatch.setattr(fail_points, "reached", strike)
    with pytest.raises(Died):  # noqa: PT012  in one of the two
        site.add("web")
        site.leases.delete(("c-web", "net1"))
    monkeypatch.undo()
    site.start()
    site.leases.delete(("c-web", "net1"))
    assert site.free() == 5


def test_what_a_writer_that_died_left_goes_with_the_next_start(site: Site) -> None:
    site.folder.mkdir()
    (site.folder / "0.draft").write_bytes(b'{"container_id":')
    site.start()
    assert list(site.folder.iterdir()) == []


def test_what_a_pod_had_that_went_without_a_del_is_free(site: Site) -> None:
    for pod in ("gone", "other", "here"):
        site.add(pod)
    del site.cookies["/run/netns/gone"]
    site.cookies["/run/netns/other"] = 77  # another namespace by now
    site.leases.collect()
    assert ([one.container_id for one in site.leases.all()], site.free()) == (["c-here"], 4)
    site.leases.keep_only("lan", frozenset({("c-here", "net1")}))
    site.leases.keep_only("another", frozenset())
    assert len(site.leases.all()) == 1
    site.boot = "b2"
    site.start()
    assert (site.leases.all(), site.free()) == ((), 5)


def test_gc_spares_what_was_asked_for_after_its_list_was_written(site: Site) -> None:
    site.leases.add(replace(site.request("new"), asked_at_ns=8))
    site.leases.keep_only("lan", frozenset(), 7)
    assert len(site.leases.all()) == 1
    site.start()
    site.leases.keep_only("lan", frozenset(), 8)
    assert site.leases.all() == ()


def test_gc_of_a_plugin_that_asks_us_for_addresses_spares_what_was_asked_for_after_its_list(site: Site) -> None:
    commands = IpamCommands(site.leases)
    site.request("new")
    config = {"cniVersion": "1.1.0", "name": "lan", "type": "macvlan", "cni.dev/valid-attachments": []}
    text = json.dumps({**config, "ipam": {"type": "sluiceway-cni", "pool": "v100"}}).encode()
    environment = {"CNI_CONTAINERID": "c-new", "CNI_IFNAME": "net1", "CNI_NETNS": "/run/netns/new"}

    def asked(command: str, at_ns: int) -> Request:
        return parse({**environment, "CNI_COMMAND": command, ASKED_AT: str(at_ns)}, text)

    commands.add(asked("ADD", 8))
    assert [*commands.collect(asked("GC", 7))] == []
    assert [one.container_id for one in site.leases.all()] == ["c-new"]
    assert [*commands.collect(asked("GC", 8))] == []
    assert site.leases.all() == ()


def test_who_cannot_be_looked_at_keeps_what_it_has(site: Site) -> None:
    lease = site.add("web")
    site.is_short = True
    site.leases.collect()
    site.start()
    site.is_short = False
    assert (site.leases.all(), site.free()) == ((lease,), 4)


def test_what_the_disk_keeps_of_a_pod_that_is_gone_is_nobody_elses_until_it_is_forgotten(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.add("gone")
    del site.cookies["/run/netns/gone"]
    with monkeypatch.context() as patched:
        patched.setattr("agent.pods.ip_leases.remove", _full)
        site.start()
    for pod in ("a", "b", "c", "d"):
        site.add(pod)
    with pytest.raises(NoFreeAddress):
        site.add("e")
    site.leases.collect()
    site.add("e")


def _full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_disk_that_refuses_gives_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.pods.ip_leases.place", _full)
    with pytest.raises(OSError, match="No space"):
        site.add("web")
    monkeypatch.undo()
    assert site.free() == 5


def test_a_vf_asks_without_a_process(site: Site) -> None:
    run = IpamInProcess(IpamCommands(site.leases))
    site.request("web")
    environment = {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "c-web",
        "CNI_IFNAME": "net1",
        "CNI_NETNS": "/run/netns/web",
        "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web",
    }
    ipam = {"type": "sluiceway-cni", "pool": "v100", "routes": [{"dst": "0.0.0.0/0"}]}
    config = {"cniVersion": "0.4.0", "name": "fast", "type": "sluiceway-cni", "kind": "sriov", "ipam": ipam}
    answer = run(environment, config)
    assert answer["ips"] == [{"address": "10.9.0.2/29", "gateway": "10.9.0.1", "version": "4"}]
    assert answer["routes"] == [{"dst": "0.0.0.0/0"}]
    assert run({**environment, "CNI_COMMAND": "CHECK"}, {**config, "prevResult": answer}) is None
    with pytest.raises(PluginFailed, match="not as ADD left it"):
        run({**environment, "CNI_COMMAND": "CHECK"}, {**config, "prevResult": {"ips": []}})
    assert run({**environment, "CNI_COMMAND": "DEL"}, config) is None
    with pytest.raises(PluginFailed) as failed:
        run(environment, {**config, "ipam": {**ipam, "pool": "red"}})
    assert (failed.value.code, "IPPool red is not for" in str(failed.value)) == (Code.CONFIG, True)
    with pytest.raises(PluginFailed, match="--ip-pools on"):
        IpamInProcess(IpamCommands(None))(environment, config)


def test_a_pod_whose_block_the_api_server_gives_slowly_keeps_no_other_waiting(site: Site) -> None:
    there = site.add("there")
    is_asked, may_go = threading.Event(), threading.Event()

    def slow(method: str, _path: str) -> None:
        if method == "POST":
            is_asked.set()
            assert may_go.wait(30)

    site.node.api.before = slow
    with ThreadPoolExecutor() as pool:
        late = pool.submit(site.add, "late", pools="wide")
        try:
            assert is_asked.wait(30)
            assert pool.submit(site.add, "next").result(30).addresses == ("10.9.0.3/29",)
            pool.submit(site.leases.delete, there.key).result(30)
        finally:
            may_go.set()
        assert late.result(30).addresses == ("10.7.0.1/24",)
