"""Each of kube-router's flags and annotations about BGP, from its DaemonSet and objects to BIRD's configuration."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from agent.compile.bgp.bgp import OFF, bgp
from agent.compile.bgp.bird import bird_config
from agent.compile.bgp.settings import bgp_settings
from agent.migrate.kube_router import migrate
from agent.migrate.kube_router_annotations import NODE, PREFIX, SERVICE
from agent.migrate.kube_router_flags import ROUTER
from agent.migrate.report import Migration, config_text
from agent.model.bgp import Password, Passwords
from agent.model.bgp_configuration import BgpConfiguration
from agent.model.node import Node
from agent.model.service import Service
from agent.options.origins import load
from agent.watch.decode.bgp_configuration import BGP_CONFIGURATION
from agent.watch.decode.decoder import Decoder
from agent.watch.decode.service import SERVICE as SERVICE_KIND
from tests.agent.compile.bgp.bgp_world import HERE_1, node, world
from tests.agent.compile.objects import HERE, cluster, endpoint, piece
from tests.agent.migrate.inputs import daemon, found
from tests.agent.migrate.inputs import node as node_object

IMAGE = "docker.io/cloudnativelabs/kube-router:v2.11.0"
PEER = ("--peer-router-ips=192.0.2.1", "--peer-router-asns=64600")
ADVERTISES = ("--advertise-cluster-ip", "--advertise-external-ip", "--advertise-loadbalancer-ip")
CLUSTER, EXTERNAL, BALANCER = "10.96.0.1/32", "198.51.100.7/32", "203.0.113.1/32"
SESSION = "protocol bgp peer_192_0_2_1 {"
SECRET = base64.b64encode(b"of the node").decode()


@dataclass(frozen=True)
class Row:
    """What one says, and of what BIRD is told then."""

    flags: tuple[str, ...] = PEER
    here: Mapping[str, str] = field(default_factory=dict)  # annotations of this Node
    there: Mapping[str, str] = field(default_factory=dict)  # of the other
    service: Mapping[str, str] = field(default_factory=dict)
    says: str = ""  # and without it not
    hides: str = ""  # and without it does not
    base: tuple[str, ...] = PEER  # flags without it
    base_there: Mapping[str, str] = field(default_factory=dict)
    after: str = ""  # this alone of the configuration is looked at


def annotated(name: str, number: int, annotations: Mapping[str, str]) -> Node:
    given = tuple(sorted((f"{PREFIX}{key}", value) for key, value in annotations.items()))
    return replace(HERE_1 if name == HERE else node(name, number), bgp=given)


def service(annotations: Mapping[str, str]) -> Service:
    content = {
        "metadata": {
            "name": "web",
            "namespace": "default",
            "annotations": {f"{PREFIX}service.{key}": value for key, value in annotations.items()},
        },
        "spec": {
            "type": "LoadBalancer",
            "clusterIP": "10.96.0.1",
            "clusterIPs": ["10.96.0.1"],
            "externalIPs": ["198.51.100.7"],
            "ports": [{"port": 80}],
        },
        "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}},
    }
    value = Decoder(HERE).decode(SERVICE_KIND, json.dumps(content).encode()).value
    assert isinstance(value, Service)
    return value


def imported(flags: tuple[str, ...], here: Mapping[str, str]) -> Migration:
    annotations = {f"{PREFIX}{key}": value for key, value in here.items()}
    return migrate(found(daemon("kube-router", IMAGE, flags), node_object("10.244.11.0/24", **annotations)))


def conf(row: Row, folder: Path, *, is_base: bool) -> str:
    """BIRD's, of what the import of all that gives."""
    flags, here, there, said = row.flags, row.here, row.there, row.service
    if is_base:
        flags, here, there, said = row.base, {}, row.base_there, {}
    given = imported(flags, here)
    file = folder / "config.yaml"
    file.write_text(config_text(given.settings))
    _, options, _ = load(["config", "--config", str(file), "--router=on"], {}, "")
    held: dict[str, BgpConfiguration] = {}
    for item in given.objects:
        value = Decoder(HERE).decode(BGP_CONFIGURATION, json.dumps(item).encode()).value
        assert isinstance(value, BgpConfiguration)
        held[value.name] = value
    passwords = (Password("of the file"),) if options.peer_router_passwords_file else ()
    far = piece("web", endpoint("10.244.12.1", "n2"))
    settings = bgp_settings(options)
    assert settings is not None
    made = bgp(
        world(
            annotated(HERE, 11, here),
            annotated("n2", 12, there),
            passwords=Passwords(of_options=passwords),
            bgp_configurations=held,
            services=cluster(service(said)).services,
            slices=cluster(far).slices,
        ),
        settings,
        None,
        HERE,
        OFF,
    )
    assert made.problems == ()
    assert made.router is not None
    return (
        bird_config(made.router, with_passwords=False).partition(row.after)[2]
        if row.after
        else bird_config(made.router)
    )


def peer_lists(**more: str) -> dict[str, str]:
    return {"peer.ips": "192.0.2.9", "peer.asns": "64609"} | {f"peer.{key}": value for key, value in more.items()}


NOTHING = Row()  # what kube-router says so changes nothing here
FLAGS = {
    "cluster-asn": Row((*PEER, "--cluster-asn=64700"), says="as 64700;"),
    "nodes-full-mesh": Row(
        (*PEER, "--nodes-full-mesh=false"),
        there={"node.asn": "64701"},
        base_there={"node.asn": "64701"},
        hides="Node n2",
    ),
    "enable-ibgp": Row((*PEER, "--enable-ibgp=false"), hides="Node n2"),
    "bgp-port": Row((*PEER, "--bgp-port=1179"), says="neighbor 192.0.2.12 port 1179 as 64512;"),
    "router-id": Row((*PEER, "--router-id=10.0.0.9"), says="router id 10.0.0.9;"),
    "bgp-holdtime": Row((*PEER, "--bgp-holdtime=30s"), says="hold time 30;"),
    "bgp-graceful-restart": Row((*PEER, "--bgp-graceful-restart=false"), says="\n  graceful restart off;"),
    "bgp-graceful-restart-time": Row(
        (*PEER, "--bgp-graceful-restart", "--bgp-graceful-restart-time=60s"), says="graceful restart time 60;"
    ),
    "bgp-graceful-restart-deferral-time": replace(NOTHING, flags=(*PEER, "--bgp-graceful-restart-deferral-time=1m")),
    "enable-bfd": Row((*PEER, "--enable-bfd"), says="min tx interval 1000 ms;"),
    "bfd-port": replace(NOTHING, flags=(*PEER, "--bfd-port=3784")),
    "bfd-desired-min-tx-interval": Row(
        (*PEER, "--enable-bfd", "--bfd-desired-min-tx-interval=300"), says="min tx interval 300 ms;"
    ),
    "bfd-required-min-rx-interval": Row(
        (*PEER, "--enable-bfd", "--bfd-required-min-rx-interval=300"), says="min rx interval 300 ms;"
    ),
    "bfd-detection-multiplier": Row((*PEER, "--enable-bfd", "--bfd-detection-multiplier=7"), says="multiplier 7;"),
    "peer-router-ips": Row(("--peer-router-ips=192.0.2.9", PEER[1]), says="neighbor 192.0.2.9 port 179 as 64600;"),
    "peer-router-asns": Row((PEER[0], "--peer-router-asns=64601"), says="neighbor 192.0.2.1 port 179 as 64601;"),
    "peer-router-ports": Row((*PEER, "--peer-router-ports=1179"), says="neighbor 192.0.2.1 port 1179 as 64600;"),
    "peer-router-passwords": replace(NOTHING, flags=(*PEER, "--peer-router-passwords=c2VjcmV0")),
    "peer-router-passwords-file": Row(
        (*PEER, "--peer-router-passwords-file=/etc/bgp/passwords"), says='password "***";', after=SESSION
    ),
    "peer-router-multihop-ttl": Row((*PEER, "--peer-router-multihop-ttl=3"), says="multihop 3;"),
    "override-nexthop": Row((*PEER, "--override-nexthop=false"), hides="next hop self;", after=SESSION),
    "advertise-cluster-ip": Row((*PEER, "--advertise-cluster-ip"), says=CLUSTER),
    "advertise-external-ip": Row((*PEER, "--advertise-external-ip"), says=EXTERNAL),
    "advertise-loadbalancer-ip": Row((*PEER, "--advertise-loadbalancer-ip"), says=BALANCER),
    "advertise-pod-cidr": Row(
        (*PEER, "--advertise-pod-cidr=false"), hides='proto = "own_pods4"', after="filter out_peer_192_0_2_1_4 {"
    ),
    "gobgp-admin-address": replace(NOTHING, flags=(*PEER, "--gobgp-admin-address=127.0.0.2")),
    "gobgp-admin-port": replace(NOTHING, flags=(*PEER, "--gobgp-admin-port=0")),
}
OF_NODE = "protocol bgp peer_192_0_2_9 {"
ANNOTATIONS = {
    "node.asn": Row(here={"node.asn": "64700"}, says="as 64700;"),
    "rr.server": Row(here={"rr.server": "7"}, there={"rr.client": "7"}, says="rr cluster id 0.0.0.7;"),
    "rr.client": Row(here={"rr.client": "7"}, hides="Node n2"),
    "peers": Row((), here={"peers": "- {remoteip: 192.0.2.9, remoteasn: 64609}"}, base=(), says=OF_NODE),
    "peer.ips": Row((), here=peer_lists(), base=(), says=OF_NODE),
    "peer.asns": Row((), here=peer_lists(), base=(), says="neighbor 192.0.2.9 port 179 as 64609;"),
    "peer.ports": Row((), here=peer_lists(ports="1179"), base=(), says="neighbor 192.0.2.9 port 1179"),
    "peer.passwords": Row((), here=peer_lists(passwords=SECRET), base=(), says='password "***";', after=OF_NODE),
    "peer.localips": Row((), here=peer_lists(localips="192.0.2.77"), base=(), says="local 192.0.2.77 port 179"),
    "path-prepend.as": Row(
        here={"path-prepend.as": "64700", "path-prepend.repeat-n": "2"}, says="bgp_path.prepend(64700);"
    ),
    "path-prepend.repeat-n": Row(
        here={"path-prepend.as": "64700", "path-prepend.repeat-n": "2"},
        says="    bgp_path.prepend(64700);\n    bgp_path.prepend(64700);\n    accept;",
    ),
    "node.bgp.communities": Row(here={"node.bgp.communities": "65000:9"}, says="bgp_community.add((65000, 9));"),
    "node.bgp.customimportreject": Row(
        here={"node.bgp.customimportreject": "198.51.100.0/24"}, says="net ~ [ 198.51.100.0/24{24,32} ] then reject;"
    ),
    "bgp-local-addresses": Row(here={"bgp-local-addresses": "192.0.2.111"}, says="local 192.0.2.111 port 179"),
}
SERVICES = {
    "advertise.clusterip": Row(service={"advertise.clusterip": "true"}, says=CLUSTER),
    "advertise.externalip": Row(service={"advertise.externalip": "true"}, says=EXTERNAL),
    "advertise.loadbalancerip": Row(service={"advertise.loadbalancerip": "true"}, says=BALANCER),
    "local": Row((*PEER, *ADVERTISES), service={"local": "true"}, hides=BALANCER, base=(*PEER, *ADVERTISES)),
    "skiplbips": Row((*PEER, *ADVERTISES), service={"skiplbips": "true"}, hides=BALANCER, base=(*PEER, *ADVERTISES)),
}


@pytest.mark.parametrize(
    "row",
    [
        *(pytest.param(row, id=f"--{name}") for name, row in FLAGS.items()),
        *(pytest.param(row, id=f"{PREFIX}{name}") for name, row in ANNOTATIONS.items()),
        *(pytest.param(row, id=f"{PREFIX}service.{name}") for name, row in SERVICES.items()),
    ],
)
def test_it_is_what_bird_does(row: Row, tmp_path: Path) -> None:
    before, now = conf(row, tmp_path, is_base=True), conf(row, tmp_path, is_base=False)
    if not row.says and not row.hides:
        assert now == before
    if row.says:
        assert (row.says in before, row.says in now) == (False, True)
    if row.hides:
        assert (row.hides in before, row.hides in now) == (True, False)


def test_every_row_of_its_tables_about_bgp_is_tried() -> None:
    of_others = {
        "service.dsr",
        "service.scheduler",
        "service.schedflags",
        "service.hairpin",
        "service.hairpin.externalips",
    }
    assert {row.name for row in ROUTER} == set(FLAGS)
    assert {row.name.removeprefix(PREFIX) for row in NODE} - {"pod-cidr", "pod-cidrs"} == set(ANNOTATIONS)
    assert {row.name.removeprefix(PREFIX) for row in SERVICE} - of_others == {f"service.{name}" for name in SERVICES}


def test_of_routers_all_is_taken_but_a_default_route_as_there(tmp_path: Path) -> None:
    taken = conf(Row(), tmp_path, is_base=True).partition("filter in_peer_192_0_2_1_4 {")[2].partition("}\n")[0]
    assert "net ~ [ 0.0.0.0/0{1,32} ] then accept;" in taken
    none = imported((), {})
    assert "router" not in none.settings
    assert none.objects == ()


def test_each_router_counts_whose_flags_are_given_again() -> None:
    flags = ("--peer-router-ips=192.0.2.1,", "--peer-router-asns=64600", "--peer-router-ports=179")
    more = ("--peer-router-ips=192.0.2.2", "--peer-router-asns=64601", "--peer-router-ports=1179")
    settings = imported(flags + more, {}).settings
    names = ("peer-router-ips", "peer-router-asns", "peer-router-ports")
    assert [settings[name].value for name in names] == ["192.0.2.1,192.0.2.2", "64600,64601", "179,1179"]


@pytest.mark.parametrize(
    ("flags", "count"),
    [
        pytest.param(PEER, 1, id="in full mesh, where kube-router does not look at it"),
        pytest.param((*PEER, "--nodes-full-mesh=false"), 0, id="in none"),
        pytest.param((), 0, id="where nobody is told"),
    ],
)
def test_an_as_number_that_counts_from_now_on_is_told_of(flags: tuple[str, ...], count: int) -> None:
    findings = imported(flags, {"node.asn": "64700"}).findings
    assert sum("where kube-router does not look at it" in str(one) for one in findings) == count
