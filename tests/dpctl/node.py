"""A node with policies in a handful of model values, compiled as the agent does and written to pinned maps."""

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from agent.compile.desired import Desired, desired
from agent.compile.settings import Settings
from agent.model.attachment import Attachment, Veth
from agent.model.cluster import Cluster
from agent.model.local import Local
from agent.model.name import ObjectName
from agent.model.node import Namespace, Node, Pod
from agent.model.policy import (
    CidrPeer,
    ContainerPort,
    NamedPort,
    NodePeer,
    Operator,
    PeerPod,
    PodPeer,
    Policy,
    PortRange,
    Requirement,
    Rule,
    Selector,
    Tier,
    Verdict,
)
from agent.model.service import Protocol
from maps.pins import Generation
from maps.registry import open_agent_tables

HERE, THERE = "n1", "n2"
TCP, UDP = Protocol.TCP, Protocol.UDP
KINDS = frozenset({"NetworkPolicy", "ClusterNetworkPolicy", "PeerPod", "Namespace", "Pod", "Node"})


def name(text: str) -> ObjectName:
    namespace, _, rest = text.rpartition("/")
    return ObjectName(namespace, rest)


def labelled(**labels: str) -> Selector:
    found = (Requirement(key, Operator.IN, frozenset({value})) for key, value in sorted(labels.items()))
    return Selector(tuple(found))


def attachment(number: int, pod: str) -> Attachment:
    return Attachment(
        f"container-{number}",
        "eth0",
        endpoint_id=number + 40,
        slot=number,
        netns=f"/run/netns/{number}",
        netns_cookie=1000 + number,
        mac=f"02:00:00:00:00:{number:02x}",
        link=Veth(f"swp{number}", 10 + number),
        ipv4=IPv4Address(f"10.1.0.{number}"),
        ipv6=IPv6Address(f"fd00::{number}"),
        pod=name(pod),
        pod_uid=pod,
    )


def pod(one: Attachment, ports: tuple[ContainerPort, ...] = (), **labels: str) -> Pod:
    assert one.pod is not None
    return Pod(one.pod, one.pod_uid, HERE, one.addresses, labels=tuple(sorted(labels.items())), ports=ports)


WEB, CLIENT, BARE, NEW, DB = (
    attachment(1, "shop/web"),
    attachment(2, "shop/client"),
    attachment(3, "quiet/bare"),
    attachment(4, "shop/new"),
    attachment(5, "quiet/db"),
)
PORTS = (ContainerPort("http", TCP, 8080), ContainerPort("dns", UDP, 53))
ELSEWHERE = PeerPod(name("shop/far"), (("app", "client"),), (ip_address("10.2.0.9"),), PORTS)
POLICIES = (
    Policy(
        name("shop/web"),
        PodPeer(labelled(app="web"), namespace="shop"),
        ingress=(
            Rule(peers=(PodPeer(labelled(app="client"), namespace="shop"),), ports=(PortRange(TCP, 80, 90),)),
            Rule(
                peers=(CidrPeer(ip_network("10.0.0.0/8"), (ip_network("10.9.0.0/16"),)),),
                ports=(NamedPort("http", TCP),),
            ),
            Rule(ports=tuple(PortRange(UDP, port, port) for port in range(1000, 1018, 2))),
        ),
    ),
    Policy(
        name("shop/client"),
        PodPeer(labelled(app="client"), namespace="shop"),
        egress=(Rule(peers=(PodPeer(namespace="shop"),), ports=(NamedPort("dns", UDP),)),),
    ),
    Policy(name("quiet/db"), PodPeer(labelled(app="db"), namespace="quiet"), ingress=()),
    Policy(
        name("bastion"),
        PodPeer(labelled(app="web")),
        ingress=(
            Rule(Verdict.DENY, (PodPeer(namespaces=labelled(team="b")),), name="no-b"),
            Rule(Verdict.PASS, (NodePeer(labelled(edge="yes")),)),
        ),
        tier=Tier.ADMIN,
        priority=1,
    ),
)


def cluster(*, attachments: tuple[Attachment, ...] = (WEB, CLIENT, BARE, NEW, DB)) -> Cluster:
    pods = (
        pod(WEB, PORTS, app="web"),
        pod(CLIENT, app="client"),
        pod(BARE),
        pod(DB, app="db"),
    )
    nodes = (
        Node(HERE, (ip_address("192.0.2.1"), ip_address("2001:db8::1"))),
        Node(THERE, (ip_address("192.0.2.2"),), labels=(("edge", "yes"),)),
    )
    return Cluster(
        nodes={one.name: one for one in nodes},
        pods={one.name: one for one in pods},
        namespaces={one.name: one for one in (Namespace("shop"), Namespace("quiet", (("team", "b"),), audits=True))},
        policies={one.name: one for one in POLICIES if one.name.namespace},
        cluster_policies={one.name.name: one for one in POLICIES if not one.name.namespace},
        peers={ELSEWHERE.name: ELSEWHERE, **{one.name: _peer(one) for one in pods}},
        listed=KINDS,
        local=Local(netns_cookie=1, attachments=attachments),
        synced=True,
    )


def _peer(one: Pod) -> PeerPod:
    return PeerPod(one.name, one.labels, one.ips, one.ports)


def compiled(of: Cluster | None = None, before: Desired | None = None) -> Desired:
    settings = Settings(HERE, network_policy=True)
    return desired(of or cluster(), settings, before or Desired())


def write(wanted: Desired, generation: Generation) -> None:
    """What the agent's rounds would write, in no order."""
    tables = open_agent_tables(generation.maps)
    try:
        for records in wanted.owners.values():
            _write(records.items(), tables)
    finally:
        for table in tables.values():
            table.close()


def _write(found: object, tables: Mapping[str, object]) -> None:
    for map_name, records in found:  # type: ignore[attr-defined]
        keys, values = b"".join(records), b"".join(records.values())
        tables[map_name].update_packed(keys, values, len(records))  # type: ignore[attr-defined]
