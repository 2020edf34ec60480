"""Two nodes on two subnets that BGP alone joins, and a router of the site's between them that is their peer."""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import agents, bird, cluster, site, use
from lab.addresses import OUTSIDE, ROUTER, at_once, pod_cidrs
from lab.cluster import Cluster
from lab.machine import Machine
from lab.manifests import Object
from lab.site import Options
from lab.use import Client
from tests.lab.routers import BIRD, CLUSTER_IPS, LB, OUT, SECRET, SERVICE, TOR, peer, routes, session, unchanged
from tests.patience import until

pytestmark = [pytest.mark.netns, pytest.mark.kernel]

RENDERED = Path(__file__).resolve().parents[1] / "build" / "chart" / "router" / "rendered.yaml"


@pytest.fixture(scope="module")
def routed() -> Iterator[Cluster]:
    """The cluster, with the router's BIRD; n1 has a password with it."""
    name = f"swlab-test-bgp-{os.getpid()}"
    try:
        made = cluster.up(name, Options(nodes=2, subnets=2, router=True), print)
        tor, n1 = made.site.machine(ROUTER), made.site.machine("n1")
        for address in OUT:
            tor.run("ip", "address", "add", address, "dev", "lo", *at_once(address))
        bird.run(tor, TOR)
        n1.run("mkdir", "-p", "/etc/sluiceway/bgp")
        n1.run("sh", "-c", "umask 077; cat >/etc/sluiceway/bgp/tor", stdin=f"{SECRET}\n")
        made.apply(peer("tor-n1", "n1", "10.88.0.1", passwordKey="tor"))
        made.apply(peer("tor-n2", "n2", "10.88.1.1"))
        yield made
    finally:
        site.remove(name)


@pytest.fixture(scope="module")
def pods(routed: Cluster) -> tuple[dict[str, Object], Client]:
    """A server on each node, and whom to ask from n1."""
    servers = {f"web{n}": use.serve(routed, f"web{n}", f"n{n}", {"app": "none"}) for n in (1, 2)}
    n1, tor = routed.site.machine("n1"), routed.site.machine(ROUTER)
    for far, own in zip(bird.OUTSIDE_RANGES, pod_cidrs("n1"), strict=True):
        until(lambda of=far: "bird" in routes(n1, of), f"{far} is not routed")  # type: ignore[misc]
        until(lambda of=str(own): bool(routes(tor, of)), "the router knows no pods")  # type: ignore[misc]
    return servers, use.idle(routed, "asking", "n1")


def test_nodes_on_other_subnets_are_reached_by_routes_of_birds_own_and_no_more_is_taken(
    routed: Cluster, pods: tuple[dict[str, Object], Client]
) -> None:
    servers, asking = pods
    n1 = routed.site.machine("n1")
    for address, network in zip((ip["ip"] for ip in servers["web2"]["status"]["podIPs"]), pod_cidrs("n2"), strict=True):
        until(lambda of=str(network): "proto bird" in routes(n1, of) and "metric 90" in routes(n1, of), str(network))  # type: ignore[misc]
        assert asking.ask("tcp", address, use.SERVER_PORT, 3).answers == {"web2": 3}
    assert "proto bird" not in routes(n1, "default")  # nobody asked for them
    assert not routes(n1, "192.0.2.0/24")


def test_pods_follow_what_the_router_tells_and_who_is_outside_reaches_them(
    routed: Cluster, pods: tuple[dict[str, Object], Client]
) -> None:
    servers, asking = pods
    tor = routed.site.machine(ROUTER)
    tor.daemon("echo", [*use.SERVER, str(use.SERVER_PORT)], {"POD_NAME": "tor"})
    for address in OUT:
        until(lambda of=address: bool(asking.ask("tcp", of, use.SERVER_PORT).answers), address)  # type: ignore[misc]
    outside = use.host(routed.site.machine(OUTSIDE))
    for name, item in servers.items():
        for ip in item["status"]["podIPs"]:
            assert outside.ask("tcp", ip["ip"], use.SERVER_PORT, 2).answers == {name: 2}


@pytest.mark.usefixtures("pods")
def test_a_service_is_told_of_by_nodes_with_a_ready_endpoint_and_withdrawn_with_the_last(routed: Cluster) -> None:
    tor = routed.site.machine(ROUTER)
    also = "name: web, annotations: {kube-router.io/service.advertise.clusterip: 'true'}}"
    (stored,) = routed.apply(SERVICE.replace("name: web}", also))
    with routed.site.alone():
        ingress = [{"ip": ip, "ipMode": "VIP"} for ip in LB]
        routed.manifests.put({**stored, "status": {"loadBalancer": {"ingress": ingress}}})
    time.sleep(0.3)
    assert not routes(tor, LB[0])
    use.serve(routed, "ready2", "n2", {"app": "web"})
    for address, hop in zip(LB, routed.site.machine("n2").addresses, strict=True):
        until(lambda of=address, via=str(hop): f"via {via} " in routes(tor, of), address)  # type: ignore[misc]
        assert "nexthop" not in routes(tor, address)  # n1 tells nobody
    outside = use.host(routed.site.machine(OUTSIDE))
    for address in CLUSTER_IPS:
        until(lambda of=address: bool(routes(tor, of)), address)  # type: ignore[misc]
    for address in (*LB, *CLUSTER_IPS):
        assert outside.ask("tcp", address, 80, 3).answers == {"ready2": 3}
    began = time.monotonic()
    routed.delete("ready2", grace_s=0)
    for address in (*LB, *CLUSTER_IPS):
        until(lambda of=address: not routes(tor, of), f"{address} was not withdrawn")  # type: ignore[misc]
    assert time.monotonic() - began < 30, "bench/routes has about 30 ms; graceful restart would keep it for 60 s"


POLICY = """
apiVersion: sluiceway.io/v1alpha1
kind: BGPConfiguration
metadata: {name: default}
spec:
  aggregates: [203.0.113.64/26]
  communities: [{name: rack, value: "65000:77"}]
  prefixAdvertisements: [{cidr: 203.0.113.64/26, communities: ["65000:78"]}]
---
apiVersion: sluiceway.io/v1alpha1
kind: BGPFilter
metadata: {name: site}
spec:
  export:
    - {action: Reject, prefixes: [{cidr: "2001:db8:203::21/128"}]}
    - {action: Accept, sources: [Services], prefixes: [{cidr: 0.0.0.0/0, maxLength: 32}, {cidr: "::/0", maxLength: 128}], set: {prepend: [64512]}}
"""  # noqa: E501
WIDE = ("203.0.113.70", "2001:db8:203::20", "2001:db8:203::21")  # in the aggregate; by itself; filtered


@pytest.mark.usefixtures("pods")
def test_an_aggregate_stands_for_its_services_and_filters_and_marks_are_on_what_is_told(routed: Cluster) -> None:
    n1, tor = routed.site.machine("n1"), routed.site.machine(ROUTER)
    before = [session(tor, name) for name in ("n1", "n2")]
    routed.apply(POLICY)
    routed.apply(peer("tor-n1", "n1", "10.88.0.1", passwordKey="tor", filters=["site"]))
    wide = SERVICE.replace("name: web}", "name: wide, annotations: {sluiceway.io/bgp-communities: rack}}").replace(
        "Policy: Local", "Policy: Cluster"
    )
    (stored,) = routed.apply(
        wide.replace("app: web", "app: wide").replace("96.0.80", "96.0.81").replace("::80", "::81")
    )
    with routed.site.alone():
        ingress = [{"ip": ip, "ipMode": "VIP"} for ip in WIDE]
        routed.manifests.put({**stored, "status": {"loadBalancer": {"ingress": ingress}}})
    use.serve(routed, "wide2", "n2", {"app": "wide"})

    until(lambda: routes(tor, "203.0.113.64/26").count("nexthop") == 2, "both nodes tell the aggregate")
    assert not routes(tor, WIDE[0])
    until(lambda: routes(tor, WIDE[1]).count("via") == 1, "n2's path is the shorter")
    said = bird.ask(tor, "show", "route", f"{WIDE[1]}/128", "all", "protocol", "n1")
    assert "BGP.as_path: 64512 64512" in said
    assert "BGP.community: (65000,77)" in said
    assert "BGP.community: (65000,78)" in bird.ask(tor, "show", "route", "203.0.113.64/26", "all", "protocol", "n1")
    until(lambda: bool(routes(tor, WIDE[2])), "n2 has no filter")
    assert not bird.ask(tor, "show", "route", f"{WIDE[2]}/128", "protocol", "n1").count("BGP")
    assert [session(tor, name) for name in ("n1", "n2")] == [*map(unchanged, before)], "one was reset"
    outside = use.host(routed.site.machine(OUTSIDE))
    for address in WIDE[:2]:
        for client in (outside, use.host(n1)):
            assert client.ask("tcp", address, 80, 3).answers == {"wide2": 3}
    # what nobody within it has goes round no loop, and no node is told of it
    assert routes(n1, "203.0.113.64/26").startswith("blackhole")
    assert "203.0.113.64/26" not in n1.run("birdc", "-s", BIRD, "show", "route", "protocol", "node_10_88_1_12").stdout

    why = n1.run("dpctl", "bgp", "why", WIDE[2]).stdout
    assert "BGPFilter site export[0]" in why
    assert "the rule rejects it" in why
    assert "203.0.113.64/26 is told in its place" in n1.run("dpctl", "bgp", "why", WIDE[0]).stdout
    rows = json.loads(n1.run("dpctl", "bgp", "why", "203.0.113.64/26", "-o", "json").stdout)
    assert [(row["peer"], row["rule"], row["is_so"]) for row in rows if row["way"] == "told"] == [
        ("Node n2", "(none)", False),
        ("BGPPeer tor-n1", "BGPPeer tor-n1 export.services", True),
    ]

    # a node that is to be drained
    marked = cluster.node_object(n1)
    label = {"node.kubernetes.io/exclude-from-external-load-balancers": ""}
    with routed.site.alone():
        routed.manifests.put(
            {**marked, "metadata": {**marked["metadata"], "labels": {**marked["metadata"]["labels"], **label}}}
        )
    until(lambda: "nexthop" not in routes(tor, "203.0.113.64/26"), "n1 goes on telling the aggregate")
    assert "via 10.88.1.12" in routes(tor, "203.0.113.64/26")
    assert routes(tor, str(pod_cidrs("n1")[0]))
    until(lambda: next(iter(label)) in n1.run("dpctl", "bgp", "why", WIDE[0], "-o", "json").stdout, "nobody says why")
    assert outside.ask("tcp", WIDE[0], 80, 3).answers == {"wide2": 3}
    with routed.site.alone():
        routed.manifests.put(marked)
    routed.delete("wide2", grace_s=0)
    until(lambda: not routes(tor, "203.0.113.64/26"), "the aggregate outlives the last within it")
    until(lambda: not routes(n1, "203.0.113.64/26"), "its blackhole does")


def test_the_agents_death_and_birds_lose_no_route_and_no_session_with_the_former(
    routed: Cluster, pods: tuple[dict[str, Object], Client]
) -> None:
    n1, tor = routed.site.machine("n1"), routed.site.machine(ROUTER)
    servers, asking = pods
    (far, _) = (ip["ip"] for ip in servers["web2"]["status"]["podIPs"])
    before = session(tor, "n1")
    agents.kill(n1)
    agents.start_again(n1)
    agents.wait(n1)
    time.sleep(1.5)  # a keeper that would do harm has had its turn
    assert session(tor, "n1") == unchanged(before)
    n1.stop(bird.DAEMON, signal.SIGKILL)
    for network in (str(pod_cidrs("n1")[0]),):
        assert routes(tor, network)
    assert routes(n1, str(pod_cidrs("n2")[0]))
    assert asking.ask("tcp", far, use.SERVER_PORT, 3).answers == {"web2": 3}
    bird.start(n1)
    until(lambda: "Established" in bird.ask(tor, "show", "protocols", "n1"), "the session did not come back")
    assert routes(tor, str(pod_cidrs("n1")[0]))
    assert asking.ask("tcp", far, use.SERVER_PORT, 3).answers == {"web2": 3}


def test_a_pod_that_gives_way_to_another_loses_no_route_at_the_router(
    routed: Cluster, pods: tuple[dict[str, Object], Client]
) -> None:
    n1, tor = routed.site.machine("n1"), routed.site.machine(ROUTER)
    servers, _ = pods
    own = [str(network) for network in pod_cidrs("n1")]
    until(lambda: "Established" in bird.ask(tor, "show", "protocols", "n1"), "no session")
    until(lambda: all(routes(tor, network) for network in own), "no route")
    # of a restart before this one: what is stale still goes with the next (RFC 4724 4.2)
    until(lambda: "restart active" not in bird.ask(tor, "show", "protocols", "all", "n1"), "all is stale still")
    # as the kubelet ends a container: what is to be done before, then SIGTERM
    n1.run(*bird_container()["lifecycle"]["preStop"]["exec"]["command"])
    n1.stop(bird.DAEMON)
    until(lambda: "Established" not in bird.ask(tor, "show", "protocols", "n1"), "the session is there still")
    assert all(routes(tor, network) for network in own)
    outside = use.host(routed.site.machine(OUTSIDE))
    for ip in servers["web1"]["status"]["podIPs"]:
        assert outside.ask("tcp", ip["ip"], use.SERVER_PORT, 2).answers == {"web1": 2}
    bird.start(n1)
    until(lambda: "Established" in bird.ask(tor, "show", "protocols", "n1"), "the session did not come back")
    assert all(routes(tor, network) for network in own)


def test_a_peer_that_is_dead_holds_up_no_other_for_long_when_bird_starts_again(routed: Cluster) -> None:
    n1, tor = routed.site.machine("n1"), routed.site.machine(ROUTER)
    routed.apply(peer("dead", "n1", "10.88.0.99"))
    until(lambda: "Established" in bird.ask(tor, "show", "protocols", "n1"), "the router is no peer")
    until(lambda: "10_88_0_99" in n1.run("birdc", "-s", BIRD, "show", "protocols").stdout, "it is no peer")
    n1.stop(bird.DAEMON, signal.SIGKILL)
    bird.start(n1)
    until(lambda: "Established" in bird.ask(tor, "show", "protocols", "n1"), "the session did not come back")
    use.serve(routed, "late", "n1", {"app": "late"})
    service = yaml.safe_load(SERVICE)
    service["metadata"]["name"] = "late"
    service["spec"] |= {"selector": {"app": "late"}, "clusterIP": "10.96.200.81", "clusterIPs": ["10.96.200.81"]}
    service["spec"] |= {"ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"}
    service["status"] = {"loadBalancer": {"ingress": [{"ip": "203.0.113.81"}]}}
    routed.apply(yaml.safe_dump(service))
    until(lambda: bool(routes(tor, "203.0.113.81")), "what is new is told to nobody while one peer is dead")
    routed.remove("Service", "late")
    routed.remove("BGPPeer", "dead")
    routed.delete("late", grace_s=0)


def bird_container() -> dict[str, Any]:
    """As the chart has it."""
    [only] = [
        container
        for found in yaml.safe_load_all(RENDERED.read_text())
        if found["kind"] == "DaemonSet"
        for container in found["spec"]["template"]["spec"]["containers"]
        if container["name"] == "bird"
    ]
    assert isinstance(only, dict)
    return only


def test_birds_container_has_the_capabilities_that_all_of_this_runs_with() -> None:
    assert bird_container()["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": [*bird.CAPABILITIES]}


@pytest.mark.parametrize(
    ("name", "said"),
    [("NET_ADMIN", "Netlink: Operation not permitted"), ("NET_BIND_SERVICE", "bind: Permission denied")],
)
@pytest.mark.usefixtures("pods")
def test_without_one_of_them_bird_says_what_it_may_not(routed: Cluster, name: str, said: str) -> None:
    n1 = routed.site.machine("n1")
    log = n1.home / f"{bird.DAEMON}.log"
    n1.stop(bird.DAEMON)
    before = log.stat().st_size
    bird.start(n1, [one for one in bird.CAPABILITIES if one != name])
    try:
        until(lambda: said in log.read_bytes()[before:].decode(errors="replace"), f"{name} is not missed")
    finally:
        n1.stop(bird.DAEMON)
        bird.start(n1)
    until(lambda: "Established" in bird.ask(routed.site.machine(ROUTER), "show", "protocols", "n1"), "no session")


@pytest.mark.usefixtures("pods")
def test_a_password_is_in_no_log_no_argument_no_report_and_no_answer(routed: Cluster) -> None:
    n1 = routed.site.machine("n1")
    for name in ("agent", "bird"):
        assert SECRET not in (n1.home / f"{name}.log").read_text(errors="replace")
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert SECRET.encode() not in process.read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
    for words in (["bgp", "peers"], ["bgp", "peers", "-o", "json"], ["bgp", "config"], ["status"]):
        said = n1.run("dpctl", *words).stdout
        assert SECRET not in said
    assert "Established" in n1.run("dpctl", "bgp", "peers").stdout
    found = n1.run("grep", "-rlF", SECRET, "/run/sluiceway", "/var/lib/sluiceway", check=False).stdout.split()
    assert found == ["/run/sluiceway/bird/bird.conf"]
    assert n1.run("stat", "-c", "%a", found[0]).stdout.strip() == "600"


@pytest.mark.usefixtures("pods")
def test_nodes_are_peers_under_their_password_and_one_without_it_is_nobodys(routed: Cluster) -> None:
    n1, n2 = routed.site.machine("n1"), routed.site.machine("n2")
    session = ("birdc", "-s", BIRD, "show", "protocols", "node_10_88_1_12")
    for node, is_up in ((n1, False), (n2, True)):
        node.run("mkdir", "-p", "/etc/sluiceway/bgp")
        node.run("sh", "-c", "umask 077; cat >/etc/sluiceway/bgp/mesh", stdin=f"{SECRET}\n")
        agents.kill(node)
        agents.start_again(node, flags=["--bgp-node-password-key=mesh"])
        agents.wait(node)
        until(lambda up=is_up: ("Established" in n1.run(*session).stdout) is up, f"{node.name} alone changes it")  # type: ignore[misc]
    shown = n1.run("dpctl", "bgp", "config").stdout.partition("protocol bgp node_10_88_1_12 {")[2].partition("\n}")[0]
    assert 'password "***";' in shown


def test_a_link_that_is_lost_takes_its_routes_long_before_the_hold_time(routed: Cluster) -> None:
    n2, tor = routed.site.machine("n2"), routed.site.machine(ROUTER)
    routed.apply(peer("tor-n2", "n2", "10.88.1.1", bfd={"transmitInterval": 200, "receiveInterval": 200}))
    until(lambda: "Up" in bird.ask(tor, "show", "bfd", "sessions"), "BFD does not come up")
    until(lambda: "Established" in bird.ask(tor, "show", "protocols", "n2"), "no session")
    until(lambda: bool(routes(tor, str(pod_cidrs("n2")[0]))), "no route")
    n2.run("ip", "link", "set", "eth0", "down")
    until(lambda: not routes(tor, str(pod_cidrs("n2")[0])), "the route stays")


def test_a_node_whose_router_is_switched_off_keeps_no_route_and_is_told_of_by_nobody(routed: Cluster) -> None:
    n1, tor = routed.site.machine("n1"), routed.site.machine(ROUTER)
    own = str(pod_cidrs("n1")[0])

    def taken() -> str:
        return n1.run("ip", "route", "show", "proto", "bird").stdout

    until(lambda: bool(routes(tor, own) and taken()), "no route")
    agents.stop(n1)
    assert all((routes(tor, own), taken())), "an agent that ends takes nothing along"
    agents.start_again(n1, flags=["--router=off"])
    until(lambda: not routes(tor, own), "the node is still told of")
    until(lambda: not taken(), "routes that nobody keeps stay")
    agents.stop(n1)
    agents.start_again(n1)
    until(lambda: bool(routes(tor, own) and taken()), "it does not come back")


@pytest.mark.usefixtures("pods")
def test_a_node_whose_agent_leaves_for_good_is_told_of_by_nobody_at_once(routed: Cluster) -> None:
    n1, tor, own = routed.site.machine("n1"), routed.site.machine(ROUTER), str(pod_cidrs("n1")[0])
    until(lambda: bool(routes(tor, own)), "no route")
    agents.stop(n1)
    tor.daemon("routes", ["ip", "-ts", "monitor", "route"])
    n1.daemon("links", ["ip", "-ts", "monitor", "link"])
    n1.run(str(Path(sys.prefix) / "bin" / "sluiceway-agent"), "cleanup")
    until(lambda: not routes(tor, own), "the router keeps it")  # far sooner than graceful restart
    assert deleted(tor, "routes", own) < deleted(n1, "links", ""), "pods go while packets for them are sent here"
    assert "proto bird" not in n1.run("ip", "route", "show").stdout


def deleted(machine: Machine, log: str, what: str) -> str:
    """When the first was, by the log of an `ip -ts monitor`."""
    until(lambda: f"Deleted {what}" in (machine.home / f"{log}.log").read_text(), f"no {what} is deleted")
    lines = (machine.home / f"{log}.log").read_text().splitlines()
    return next(line.partition("]")[0] for line in lines if f"Deleted {what}" in line)
