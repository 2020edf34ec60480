"""Which pools a pod has addresses of, what of them is another's, and which block comes next."""

import json
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from agent.compile.ip_pool import Choice, first_choice, has_automatic, next_block, strays, taken
from agent.compile.ip_pool_problems import asked_problems
from agent.compile.network_config import plugin_list
from agent.compile.network_refused import NetworkRefused
from agent.compile.remote import Remotes, Vantage, remotes
from agent.model.cluster import Cluster
from agent.model.ip_pool import IpBlock, IpPool
from agent.model.lb_pool import AddressRange
from agent.model.name import ObjectName
from agent.model.network import NetworkDefinition
from agent.model.node import Pod
from agent.watch.decode.decoder import Decoder
from agent.watch.decode.ip_block import IP_BLOCK_KIND
from agent.watch.decode.ip_pool import IP_POOL_KIND
from agent.watch.decode.kind import Kind
from agent.watch.decode.namespace import NAMESPACE
from agent.watch.decode.node import NODE
from agent.watch.mirror import Mirror
from tests.agent.ipam.block_world import pool

RED = {"matchLabels": {"team": "red"}}
EDGE = {"matchLabels": {"zone": "edge"}}


def node(name: str, *cidrs: str, **labels: str) -> dict[str, Any]:
    addresses = [{"type": "InternalIP", "address": f"192.0.2.{name[1:]}"}]
    about = {"name": name, "labels": labels}
    return {"metadata": about, "spec": {"podCIDRs": list(cidrs)}, "status": {"addresses": addresses}}


def namespace(name: str, pools: str = "", **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": labels, "annotations": {"sluiceway.io/ip-pool": pools}}}


def block(cidr: str, owner: str, network: str = "") -> dict[str, Any]:
    spec = {"cidr": cidr, "pool": "x", "node": owner, "network": network}
    return {"metadata": {"name": f"{cidr.replace('/', '-')}{network}", "uid": cidr}, "spec": spec}


def mirrored(*objects: tuple[Kind, dict[str, Any]]) -> Mirror:
    mirror, decoder = Mirror(lambda _: None, ()), Decoder("n1")
    for kind in (NODE, NAMESPACE, IP_POOL_KIND, IP_BLOCK_KIND):
        those = [decoder.decode(kind, json.dumps(one).encode()) for of, one in objects if of is kind]
        mirror.replace(kind, those)
    return mirror


def cluster(*pools: dict[str, Any], more: tuple[tuple[Kind, dict[str, Any]], ...] = ()) -> Cluster:
    return mirrored(*((IP_POOL_KIND, one) for one in pools), *more).cluster


PLACES = (
    (NODE, node("n1", zone="edge")),
    (NODE, node("n2")),
    (NAMESPACE, namespace("red", team="red")),
    (NAMESPACE, namespace("told", "named")),
    (NAMESPACE, namespace("plain")),
)
POOLS = (
    pool("named", "10.1.0.0/24"),
    pool("spare", "10.2.0.0/24", assignment="Automatic"),
    pool("edge", "10.3.0.0/24", assignment="Automatic", nodeSelector=EDGE),
    pool("red", "10.4.0.0/24", assignment="Automatic", namespaceSelector=RED),
    pool("off", "10.5.0.0/24", assignment="Automatic", namespaceSelector=RED, disabled=True),
    pool("vlan", "10.6.0.0/24", assignment="Automatic", network="vlan6"),
)


@pytest.mark.parametrize(
    ("at", "space", "annotation", "pools"),
    [
        pytest.param("n1", "red", "", ["red"], id="a pool for its namespace goes before one for its node"),
        pytest.param("n1", "plain", "", ["edge"], id="a pool for its node goes before one for all"),
        pytest.param("n2", "plain", "", ["spare"], id="a pool for all is for the others"),
        pytest.param("n1", "red", "named", ["named"], id="what the Pod says goes before all"),
        pytest.param("n1", "told", "", ["named"], id="what the Namespace says goes before selectors"),
        pytest.param("n1", "told", "spare, edge", ["spare", "edge"], id="the Pod's before the Namespace's"),
        pytest.param("n2", "unknown", "", ["spare"], id="a Namespace that is not known yet is none that is selected"),
    ],
)
def test_a_pods_pools_are(at: str, space: str, annotation: str, pools: list[str]) -> None:
    choice = first_choice(cluster(*POOLS, more=PLACES), at, space, annotation)
    assert [one.name for one in choice.pools] == pools


@pytest.mark.parametrize(
    ("annotation", "says"),
    [
        pytest.param("red", "IPPool red is not for namespace plain", id="a pool of other namespaces"),
        pytest.param("edge", "IPPool edge is not for this node", id="a pool of other nodes"),
        pytest.param("off", "IPPool off is disabled", id="a pool that gives nothing"),
        pytest.param("vlan", "IPPool vlan is of the network vlan6", id="a pool of another network"),
        pytest.param("none", "there is no IPPool none", id="a pool that is not there"),
    ],
)
def test_a_pod_cannot_have_addresses_of(annotation: str, says: str) -> None:
    with pytest.raises(NetworkRefused, match=says):
        first_choice(cluster(*POOLS, more=PLACES), "n2", "plain", annotation)


def test_without_pools_for_it_a_pod_has_its_nodes_own() -> None:
    only = cluster(POOLS[0], POOLS[2], more=PLACES)
    assert first_choice(only, "n2", "plain", "") == Choice()
    assert (has_automatic(only, "n1"), has_automatic(only, "n2")) == (True, False)


def test_of_pools_that_overlap_the_younger_is_the_problem() -> None:
    found = taken(
        cluster(
            pool("a", "10.1.0.0/16", created="2026-02-01T00:00:00Z"),
            pool("b", "10.9.0.0/16", "10.1.128.0/17", created="2026-01-01T00:00:00Z"),
            pool("c", "10.244.0.0/16", "192.0.2.0/24", "10.96.5.0/24", created="2026-03-01T00:00:00Z"),
            pool("d", "10.1.0.0/16", network="vlan1"),
            pool("e", "10.1.0.0/24", network="vlan1", created="2026-04-01T00:00:00Z"),
            pool("f", "10.7.0.0/24", exclude=["10.8.0.1"], static=["10.7.0.8"], network="f"),
            more=((NODE, node("n1", "10.244.1.0/24")),),
        ),
        (ip_network("10.96.0.0/12"),),
    )
    assert [(str(one.name), one.field, one.text.partition(",")[0]) for one in found.problems] == [
        ("f", "spec.exclude", "10.8.0.1 is in no range of the pool"),
        ("a", "spec.cidrs[0]", "10.1.0.0/16 has addresses of IPPool b (10.1.128.0/17)"),
        ("c", "spec.cidrs[0]", "10.244.0.0/16 has addresses of Node n1's podCIDR 10.244.1.0/24"),
        ("c", "spec.cidrs[1]", "192.0.2.0/24 has addresses of Node n1 (192.0.2.1)"),
        ("c", "spec.cidrs[2]", "10.96.5.0/24 has addresses of --service-cidrs (10.96.0.0/12)"),
        ("e", "spec.cidrs[0]", "10.1.0.0/24 has addresses of IPPool d (10.1.0.0/16)"),
    ]
    assert found.ranges["a"] == (ip_network("10.1.128.0/17"),)


def test_a_block_that_comes_next_is_nobodys_and_has_something_to_give() -> None:
    lan = IpPool("lan", (ip_network("10.1.0.0/28"),), ((4, 30), (6, 122)), fields=("spec.cidrs[0]",))

    def after(start: int, *held: str, lost: tuple[str, ...] = ()) -> str:
        blocks = [IpBlock(one, ip_network(one), uid=one) for one in held]
        return str(next_block(lan, 4, blocks, map(ip_network, lost), start))

    assert after(0) == "10.1.0.0/30"
    assert after(7) == "10.1.0.12/30"
    assert after(7, "10.1.0.12/30") == "10.1.0.0/30"
    assert after(0, "10.1.0.0/29") == "10.1.0.8/30", "a wider one from before"
    assert after(0, "10.1.0.1/32", "10.1.0.4/31") == "10.1.0.8/30", "narrower ones"
    assert after(0, lost=("10.1.0.0/29",)) == "10.1.0.8/30"
    assert after(2, "10.1.0.0/28") == "None"


@pytest.mark.parametrize(
    ("field", "given"),
    [
        pytest.param("excluded", "fd00::-fd00::7fff:ffff:ffff:ffff", id="excluded addresses"),
        pytest.param("static", "fd00::-fd00::7fff:ffff:ffff:ffff", id="a static range"),
        pytest.param("lost", "fd00::/65", id="what another pool has"),
        pytest.param("held", "fd00::/65", id="a wide block from before"),
    ],
)
@pytest.mark.parametrize("start", [0, 1 << 20, (1 << 57) - 1])
def test_half_a_range_that_is_not_to_be_had_is_passed_at_once(field: str, given: str, start: int) -> None:
    """It has 2^57 places of blocks."""
    low, _, high = given.partition("-")
    ranges: dict[str, Any] = {field: (AddressRange(ip_address(low), ip_address(high)),)} if high else {}
    lan = IpPool("lan", (ip_network("fd00::/64"),), ((6, 122),), fields=("spec.cidrs[0]",), **ranges)
    lost = [ip_network(given)] if field == "lost" else []
    held = [IpBlock("b", ip_network(given), uid="b")] if field == "held" else []
    assert str(next_block(lan, 6, held, lost, start)) == "fd00::8000:0:0:0/122"
    assert str(next_block(lan, 6, held, lost, 3 << 56)) == "fd00::c000:0:0:0/122"


def test_a_pool_of_which_all_is_excluded_has_no_block() -> None:
    every = (AddressRange(ip_address("fd00::"), ip_address("fd00::ffff:ffff:ffff:ffff")),)
    lan = IpPool("lan", (ip_network("fd00::/64"),), ((6, 122),), excluded=every, fields=("spec.cidrs[0]",))
    assert next_block(lan, 6, (), (), 12345) is None


def test_a_pool_that_cannot_be_read_gives_nothing() -> None:
    spec = {"cidrs": ["10.1.0.0/24", "10.1.0.0/25", "x", "127.0.0.0/8"], "exclude": ["10.1.0.9-10.1.0.1"]}
    mirror = mirrored((IP_POOL_KIND, {"metadata": {"name": "lan"}, "spec": {**spec, "blockSize": {"ipv4": 8}}}))
    (one,) = mirror.cluster.ip_pools.values()
    assert (one.is_disabled, one.cidrs) == (True, (ip_network("10.1.0.0/24"),))
    assert sorted(problem.field for problem in mirror.cluster.problems) == [
        "spec.blockSize.ipv4",
        "spec.cidrs[1]",
        "spec.cidrs[2]",
        "spec.cidrs[3]",
        "spec.exclude[0]",
    ]


def test_a_block_is_one_more_range_of_its_nodes_pods() -> None:
    objects = ((NODE, node("n1", "10.244.0.0/24")), (NODE, node("n2")), (IP_BLOCK_KIND, block("10.1.0.0/26", "n2")))
    mirror = mirrored(
        *objects, (IP_POOL_KIND, pool("lan", "10.1.0.0/16")), (IP_BLOCK_KIND, block("10.9.0.0/26", "n2", "vlan9"))
    )
    nodes = mirror.cluster.nodes
    assert nodes["n2"].pod_ranges == (ip_network("10.1.0.0/26"),), "what is of another network is not routed"
    mirror.change([Decoder("n1").decode(NODE, json.dumps(node("n1", "10.244.0.0/24", x="y")).encode())])
    assert mirror.cluster.nodes["n2"] is nodes["n2"], "who did not change is the identical value"
    seen = Vantage("n1", (4,), (ip_network("192.0.2.0/24"),), (ip_address("192.0.2.1"),))
    found = remotes(mirror.cluster.nodes, seen, (), Remotes()).nodes["n2"]
    assert [(str(one.destination), str(one.gateway)) for one in found.routes] == [("10.1.0.0/26", "192.0.2.2")]
    known = mirror.cluster.nodes
    mirror.change([Decoder("n1").decode(IP_BLOCK_KIND, json.dumps(block("0.0.0.0/0", "n2")).encode())])
    assert mirror.cluster.nodes is known, "nor is anything made of Nodes anew"
    assert mirror.cluster.nodes["n2"].pod_ranges == (ip_network("10.1.0.0/26"),), "what no pool has is not believed"
    assert [str(one.name) for one in strays(mirror.cluster)] == ["0.0.0.0-0", "10.9.0.0-26vlan9"]
    mirror.replace(IP_POOL_KIND, ())
    assert mirror.cluster.nodes["n2"].pod_ranges == (ip_network("10.1.0.0/26"),), "what was believed stays"
    mirror.change([Decoder("n1").deleted(IP_BLOCK_KIND, json.dumps(block("10.1.0.0/26", "n2")).encode())])
    assert not mirror.cluster.nodes["n2"].pod_ranges


def test_a_pool_that_is_named_and_is_not_there_is_a_problem_at_once() -> None:
    known = cluster(*POOLS, more=(*PLACES, (NAMESPACE, namespace("slip", "nmaed"))))
    text = json.dumps(
        {"cniVersion": "1.0.0", "type": "macvlan", "ipam": {"type": "sluiceway-cni", "pool": "vlan,vlna"}}
    )
    lan = NetworkDefinition(ObjectName("default", "lan"), plugin_list(text, "lan"))
    pods = {
        ObjectName("plain", name): Pod(ObjectName("plain", name), ip_pools=name) for name in ("named", "red", "none")
    }
    found = asked_problems(replace(known, pods=pods, networks={lan.name: lan}), "n1")
    where = "metadata.annotations['sluiceway.io/ip-pool']"
    assert [str(one) for one in found] == [
        f"Pod plain/red: {where}: IPPool red is not for namespace plain (spec.namespaceSelector)",
        f"Pod plain/none: {where}: there is no IPPool none",
        f"Namespace slip: {where}: there is no IPPool nmaed",
        "NetworkAttachmentDefinition default/lan: spec.config.ipam.pool: there is no IPPool vlna",
    ]


@pytest.mark.parametrize(
    ("config", "says"),
    [
        pytest.param({"type": "macvlan", "ipam": {"type": "sluiceway-cni"}}, "ipam.pool: None is no name", id="none"),
        pytest.param(
            {"type": "macvlan", "ipam": {"type": "sluiceway-cni", "pool": "a", "range": "10.0.0.0/8"}},
            "ipam.range: is not known",
            id="a key of another plugin's",
        ),
        pytest.param(
            {"type": "sluiceway-cni", "kind": "veth", "ipam": {"type": "host-local"}},
            "ipam: is not for the kind veth",
            id="another plugin for a kind on the cluster's network",
        ),
    ],
)
def test_lint_refuses_a_definition_whose_ipam_is_wrong(config: dict[str, Any], says: str) -> None:
    with pytest.raises(NetworkRefused, match=says):
        plugin_list(json.dumps({"cniVersion": "1.0.0", **config}), "lan")
