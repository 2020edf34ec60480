"""Routers of other makes, FRR and GoBGP: ECMP, IPv6 alone, peers at an interface and of the same AS, TTLs, and BFD."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from lab import agents, cluster, frr, site, use
from lab.addresses import OUTSIDE, ROUTER, pod_cidrs
from lab.cluster import Cluster
from lab.machine import Machine
from lab.site import Options
from lab.use import Client
from tests.lab.routers import LB, SERVICE, peer, routes, say
from tests.patience import until

pytestmark = [pytest.mark.netns, pytest.mark.kernel]

FAR = "198.51.100.0/24"  # told by both
HALF = "198.51.100.128/25"  # by FRR alone
# some go by one of them, some by the other: all by one once in two billion times
HOSTS = tuple(f"198.51.100.{number}" for number in range(1, 33))
SECRET, WRONG = "of-frr-and-n1", "of-nobody"
EVERY_S = 0.005  # between datagrams
WITHIN_S, TRIES = 0.3, 10  # of BFD with 50 ms three times
HOLD_S = 10  # and much less than the hold time
OVER_FRR = f"""
frr defaults datacenter
hostname tor
log stdout
debug bgp neighbor-events
bfd
 profile quick
  transmit-interval 50
  receive-interval 50
 peer 10.88.0.11
  profile quick
router bgp 64600
 bgp router-id 10.88.0.1
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 no bgp network import-check
 neighbor 10.88.0.11 remote-as 64512
 neighbor 10.88.0.11 password {SECRET}
 neighbor 10.88.0.11 timers connect 1
 neighbor 10.88.0.11 bfd
 neighbor fd88::c remote-as 64512
 neighbor fd88::c timers connect 1
 neighbor fd88::c capability extended-nexthop
 address-family ipv4 unicast
  network {FAR}
  neighbor 10.88.0.11 activate
  neighbor fd88::c activate
 address-family ipv6 unicast
  network 2001:db8:51::/48
  neighbor fd88::c activate
"""
OVER_GOBGP = {
    "global": {"config": {"as": 64601, "router-id": "10.88.0.200"}},
    "neighbors": [
        {
            "config": {"neighbor-address": "10.88.0.11", "peer-as": 64512},
            "timers": {"config": {"connect-retry": 1, "idle-hold-time-after-reset": 1}},
            "afi-safis": [{"config": {"afi-safi-name": "ipv4-unicast"}}],
        }
    ],
}
# answers each datagram from the address that it was sent to
ECHO = """
import select, socket, sys
name, port, *hosts = sys.argv[1:]
ends = []
for host in hosts:
    end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    end.bind((host, int(port)))
    ends.append(end)
while True:
    for end in select.select(ends, [], [])[0]:
        said, client = end.recvfrom(64)
        end.sendto(name.encode() + b" " + said, client)
"""
# numbered datagrams until so many of them were answered by the last of *names*; which were, and by whom
NUMBERED = """
import json, socket, sys, time
host, port, every_s, name = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
end.connect((host, port))
end.setblocking(False)
answers, number, until = {}, 0, time.monotonic() + 25
print("begun", flush=True)
while time.monotonic() < until and sum(one == name for one in answers.values()) < 100:
    try:
        end.send(b"%d" % number)
        number += 1
    except OSError:
        pass
    time.sleep(every_s)
    try:
        while True:
            who, which = end.recv(64).split()
            answers[int(which)] = who.decode()
    except BlockingIOError:
        pass
    except OSError:
        pass
print(json.dumps({"sent": number, "answers": answers}))
"""
PORT = 9099
REPORT = "/run/sluiceway/bgp.json"  # a node's, of what its agent wants of BIRD
BETWEEN: dict[str, Any] = {"apiVersion": "sluiceway.io/v1alpha1", "kind": "BGPPeer", "spec": {}}


@pytest.fixture(scope="module")
def routed() -> Iterator[Cluster]:
    """Four nodes on one subnet; FRR between them and the rest, GoBGP on a machine beside them."""
    name = f"swlab-test-bgp-makes-{os.getpid()}"
    try:
        made = cluster.up(name, Options(nodes=4, router=True), print)
        tor, beside = made.site.machine(ROUTER), made.site.machine(OUTSIDE)
        for machine, called in ((tor, "tor"), (beside, "beside")):
            for host in HOSTS:
                machine.run("ip", "address", "add", f"{host}/32", "dev", "lo")
            echo = [sys.executable, "-I", "-S", "-c", ECHO, called, str(PORT), *HOSTS]
            machine.daemon("echo", echo)
        tor.run("ip", "-6", "address", "add", "fe80::1/64", "dev", "br0", "nodad")  # FRR speaks IPv6 with one alone
        frr.run(tor, OVER_FRR)
        frr.run_gobgp(beside, OVER_GOBGP)
        yield made
    finally:
        site.remove(name)


@pytest.fixture(scope="module")
def asking(routed: Cluster) -> Client:
    """A pod of n1's."""
    return use.idle(routed, "asking", "n1")


def password(routed: Cluster, text: str) -> None:
    """What n1 has for FRR."""
    n1 = routed.site.machine("n1")
    n1.run("mkdir", "-p", "/etc/sluiceway/bgp")
    n1.run("sh", "-c", "umask 077; cat >/etc/sluiceway/bgp/tor", stdin=f"{text}\n")


def is_up(routed: Cluster, of: str, name: str = "n1") -> bool:
    """Whether a node has the session."""
    rows = json.loads(routed.site.machine(name).run("dpctl", "bgp", "peers", "-o", "json").stdout)
    return any(row["address"] == of and row["state"] == "Established" for row in rows)


def answered(asking: Client, host: str) -> str:
    """Who has an address."""
    one = "import socket,sys; s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.settimeout(15); "
    one += "s.connect((sys.argv[1],int(sys.argv[2]))); s.send(b'1'); print(s.recv(64).split()[0].decode())"
    argv = (sys.executable, "-I", "-S", "-c", one, host, str(PORT))
    return asking.machine.run(*argv, context=asking.context, check=False).stdout.strip()


def test_a_wrong_password_keeps_the_session_down_says_why_and_costs_no_other(routed: Cluster) -> None:
    n1 = routed.site.machine("n1")
    password(routed, WRONG)
    routed.apply(
        peer(
            "frr",
            "n1",
            "10.88.0.1",
            passwordKey="tor",
            bothFamilies=False,
            bfd={"transmitInterval": 50, "receiveInterval": 50},
        )
    )
    routed.apply(peer("gobgp", "n1", "10.88.0.200", asn=64601, bothFamilies=False))
    until(lambda: is_up(routed, "10.88.0.200"), "GoBGP")
    frr_said = "wrong or missing password (MD5) come in, and these have no session: BGPPeer frr"
    until(lambda: frr_said in n1.run("dpctl", "status", check=False).stdout, "nobody is told of the password")
    assert not is_up(routed, "10.88.0.1")
    password(routed, SECRET)
    until(lambda: is_up(routed, "10.88.0.1"), "FRR")
    until(lambda: "MD5" not in n1.run("dpctl", "status", check=False).stdout, "the problem stays")


def test_two_routers_of_different_makes_are_two_ways_to_one_prefix(routed: Cluster, asking: Client) -> None:
    n1, tor, beside = (routed.site.machine(name) for name in ("n1", ROUTER, OUTSIDE))
    frr.ask_gobgp(beside, "global", "rib", "add", FAR, "origin", "igp", "-a", "ipv4")
    until(lambda: routes(n1, FAR).count("nexthop") == 2, "not two ways")
    assert {answered(asking, host) for host in HOSTS} == {"tor", "beside"}
    own = str(pod_cidrs("n1")[0])
    until(lambda: own in frr.ask(tor, "show ip route bgp"), "FRR has no route to the pods")
    assert own in frr.ask_gobgp(beside, "global", "rib")


def test_over_ipv6_alone_ipv4s_routes_come_with_ipv6_next_hops_and_pods_follow_them(routed: Cluster) -> None:
    n2, tor = routed.site.machine("n2"), routed.site.machine(ROUTER)
    routed.apply(peer("six", "n2", "fd88::1", extendedNextHop=True))
    until(lambda: "via inet6 fd88::1" in routes(n2, FAR), "no such route")
    asking = use.idle(routed, "asking2", "n2")
    assert answered(asking, HOSTS[0]) == "tor"
    own = pod_cidrs("n2")
    until(lambda: str(own[0]) in frr.ask(tor, "show bgp ipv4 unicast"), "FRR has not the pods")
    assert str(own[1]) in frr.ask(tor, "show bgp ipv6 unicast")


def test_peers_at_an_interface_find_each_other_two_of_ours_and_one_of_frrs(routed: Cluster) -> None:
    n3, n4, tor = (routed.site.machine(name) for name in ("n3", "n4", ROUTER))
    for near, far_name, other in (("p0", "p0", n4), ("p1", "n3p1", tor)):
        ends = [near, "netns", str(n3.process), "type", "veth", "peer", "name", far_name, "netns", str(other.process)]
        subprocess.run(["ip", "link", "add", *ends], check=True)
    for machine, device in ((n3, "p0"), (n4, "p0"), (n3, "p1"), (tor, "n3p1")):
        machine.run("ip", "link", "set", device, "up")
    pods = {"prefixes": [{"cidr": "10.244.0.0/16"}, {"cidr": "fd00:10:244::/56"}]}
    for node in ("n3", "n4"):
        selector = {"matchLabels": {"kubernetes.io/hostname": node}}
        spec = {"interface": "p0", "asn": 64512, "import": pods, "nodeSelector": selector}
        routed.apply(json.dumps(BETWEEN | {"metadata": {"name": f"of-{node}"}, "spec": spec}))
    right = BETWEEN | {"metadata": {"name": "right"}}
    right["spec"] = {
        "interface": "p1",
        "asn": 64600,
        "nodeSelector": {"matchLabels": {"kubernetes.io/hostname": "n3"}},
        "addPath": "Both",
        "longLivedStaleTime": 600,
    }
    routed.apply(json.dumps(right))
    frr.ask(
        tor, "configure terminal", "router bgp 64600", "neighbor n3p1 interface remote-as external",
        "address-family ipv4 unicast", "neighbor n3p1 activate", "exit-address-family",
        "address-family ipv6 unicast", "neighbor n3p1 activate",
    )  # fmt: skip
    own, far = pod_cidrs("n3"), pod_cidrs("n4")
    for cidr in far:
        until(lambda of=str(cidr): "on p0" in say(n3, "show", "route", of, "all"), "n3 has nothing of n4 there")  # type: ignore[misc]
    until(lambda: "inet6 fe80" in routes(n3, FAR), "nothing of FRR's by the link")
    until(lambda: str(own[0]) in frr.ask(tor, "show bgp ipv4 unicast neighbors n3p1 routes"), "FRR has not the pods")
    assert str(own[1]) in frr.ask(tor, "show bgp ipv6 unicast neighbors n3p1 routes")
    said = " ".join(frr.ask(tor, "show bgp neighbors n3p1").split())
    assert "IPv6 Unicast: TX received IPv6 Unicast: RX advertised and received" in said, "add-path"
    long_lived = "Long-lived Graceful Restart: advertised and received Address families by peer: "
    assert f"{long_lived}IPv4 Unicast IPv6 Unicast" in said
    assert answered(use.idle(routed, "asking3", "n3"), HOSTS[0]) == "tor"


def connections_dropped(tor: Machine) -> int:
    """How often FRR has lost its session at the interface."""
    found = json.loads(frr.ask(tor, "show bgp neighbors n3p1 json"))["n3p1"]
    assert found["bgpState"] == "Established"
    return int(found["connectionsDropped"])


def test_an_agent_that_starts_again_keeps_the_sessions_at_interfaces(routed: Cluster) -> None:
    n3, tor = routed.site.machine("n3"), routed.site.machine(ROUTER)
    before = connections_dropped(tor)
    n3.run("rm", REPORT)
    agents.kill(n3)
    agents.start_again(n3)
    until(lambda: n3.run("test", "-e", REPORT, check=False).returncode == 0, "nothing is wanted of BIRD")
    routed.apply(peer("dead", "n3", "10.88.0.99"))  # behind whatever BIRD is told first
    until(lambda: "10_88_0_99" in say(n3, "show", "protocols"), "BIRD does not follow")
    assert connections_dropped(tor) == before
    routed.remove("BGPPeer", "dead")


def test_who_is_at_an_interface_is_served_there_what_it_is_told_of(routed: Cluster) -> None:
    tor = routed.site.machine(ROUTER)
    (stored,) = routed.apply(SERVICE)
    with routed.site.alone():
        ingress = [{"ip": ip, "ipMode": "VIP"} for ip in LB]
        routed.manifests.put({**stored, "status": {"loadBalancer": {"ingress": ingress}}})
    use.serve(routed, "web3", "n3", {"app": "web"})
    for address in LB:
        until(lambda of=address: "dev n3p1" in routes(tor, of), f"{address} is not told at the interface")  # type: ignore[misc]
        assert use.host(tor).ask("tcp", address, 80, 3).answers == {"web3": 3}
    routed.delete("web3", grace_s=0)


def missed(asking: Client, tor: Machine, host: str) -> int:
    """How many numbered datagrams are lost when FRR's machine hears of its node no more, until GoBGP's answers."""
    n1, log = asking.machine, asking.machine.home / "numbered.log"
    until(lambda: "status: up" in frr.ask(tor, "show bfd peer 10.88.0.11").lower(), "BFD does not come up")
    until(lambda: routes(n1, FAR).count("nexthop") == 2, "not two ways")
    log.unlink(missing_ok=True)
    argv = [sys.executable, "-I", "-S", "-c", NUMBERED, host, str(PORT), str(EVERY_S), "beside"]
    n1.daemon("numbered", argv, context=asking.context)
    until(lambda: "begun" in log.read_text(), "it does not begin")
    # what n1 sends to FRR's machine is lost from here on; what goes through it to others is not
    mac = tor.run("cat", "/sys/class/net/br0/address").stdout.strip()
    hook = "type filter hook ingress device n1 priority 0;"
    rules = f"table netdev lost {{ chain in {{ {hook} ether daddr {mac} drop; }}; }}"
    tor.run("nft", "-f", "-", stdin=rules)
    try:
        until(lambda: "answers" in log.read_text(), "no datagram comes to the other router")
    finally:
        tor.run("nft", "delete", "table", "netdev", "lost")
    found = json.loads(log.read_text().splitlines()[-1])
    by = {int(number): who for number, who in found["answers"].items()}
    last, first = max(n for n, who in by.items() if who == "tor"), min(n for n, who in by.items() if who == "beside")
    assert first > last
    assert (first - last) * EVERY_S < HOLD_S, "the hold time, and not BFD"
    return first - last - 1


def test_bfd_moves_numbered_datagrams_to_the_other_router_within_300_ms(
    routed: Cluster, asking: Client, record_property: Any
) -> None:
    """At most: a machine that is kept busy may hold BIRD up as long, so it has some tries."""
    n1, tor = routed.site.machine("n1"), routed.site.machine(ROUTER)
    until(lambda: "status: up" in frr.ask(tor, "show bfd peer 10.88.0.11").lower(), "BFD does not come up")
    read = f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:{agents.METRICS_PORT}/metrics').read().decode())"
    told = 'sluiceway_bgp_bfd_up{address="10.88.0.1",peer="BGPPeer frr"} 1.0'
    until(lambda: told in n1.run(sys.executable, "-c", read).stdout, "no metric of BFD")
    until(lambda: routes(n1, FAR).count("nexthop") == 2, "not two ways")
    host = next(one for one in HOSTS if answered(asking, one) == "tor")
    lost: list[int] = []
    while len(lost) < TRIES and not (lost and lost[-1] * EVERY_S < WITHIN_S):
        lost.append(missed(asking, tor, host))
    record_property("datagrams lost", lost)
    print(f"{lost} datagrams were lost, one each {EVERY_S * 1000:.0f} ms")
    assert lost[-1] * EVERY_S < WITHIN_S
    assert "proto bird" in routes(n1, FAR)


def test_a_router_of_the_same_as_on_the_subnet_is_one_hop_away_and_has_all_that_routes_carry(routed: Cluster) -> None:
    n4, tor = routed.site.machine("n4"), routed.site.machine(ROUTER)
    marked = cluster.node_object(n4)
    prepends = {"kube-router.io/path-prepend.as": "64700", "kube-router.io/path-prepend.repeat-n": "2"}
    with routed.site.alone():
        routed.manifests.put({**marked, "metadata": {**marked["metadata"], "annotations": prepends}})
    frr.ask(
        tor, "configure terminal", "router bgp 64600", "neighbor 10.88.0.14 remote-as internal",
        "neighbor 10.88.0.14 timers connect 1", "neighbor 10.88.0.14 bfd",
        "address-family ipv4 unicast", "neighbor 10.88.0.14 activate",
    )  # fmt: skip
    quick = {"transmitInterval": 50, "receiveInterval": 50}
    carried = {"med": 20, "localPreference": 200}
    routed.apply(
        peer(
            "inside", "n4", "10.88.0.1", localASN=64600, bothFamilies=False, ttlSecurity=True, bfd=quick, export=carried
        )
    )
    until(lambda: is_up(routed, "10.88.0.1", "n4"), "no session: FRR's packets come with TTL 255")
    until(lambda: "Up" in say(n4, "show", "bfd", "sessions"), "BFD does not come up: FRR has it of one hop")
    own = str(pod_cidrs("n4")[0])
    said = "64700 64700 10.88.0.14 from 10.88.0.14 (10.88.0.14) Origin IGP, metric 20, localpref 200, valid, internal"
    until(lambda: said in " ".join(frr.ask(tor, f"show bgp ipv4 unicast {own}").split()), "FRR has something else")
    with routed.site.alone():
        routed.manifests.put(marked)


def dropped(machine: Machine) -> int:
    """Segments that came with a lower TTL than a connection takes."""
    lines = machine.run("nstat", "-asz", "TcpExtTCPMinTTLDrop").stdout.splitlines()
    (counted,) = (line for line in lines if not line.startswith("#"))
    return int(counted.split()[1])


def test_with_ttl_security_who_may_be_further_away_has_no_session(routed: Cluster) -> None:
    n3, tor = routed.site.machine("n3"), routed.site.machine(ROUTER)
    frr.ask(
        tor, "configure terminal", "router bgp 64600", "neighbor 10.88.0.13 remote-as 64512",
        "neighbor 10.88.0.13 timers connect 1", "neighbor 10.88.0.13 ttl-security hops 1",
        "address-family ipv4 unicast", "neighbor 10.88.0.13 activate",
    )  # fmt: skip
    routed.apply(peer("guarded", "n3", "10.88.0.1", bothFamilies=False, ttlSecurity=True))
    until(lambda: is_up(routed, "10.88.0.1", "n3"), "no session with TTL 255")
    frr.ask(tor, "configure terminal", "router bgp 64600", "no neighbor 10.88.0.13 ttl-security hops 1")  # a TTL of 1
    until(lambda: not is_up(routed, "10.88.0.1", "n3"), "the session stays")
    before = dropped(n3)
    until(lambda: dropped(n3) > before + 5, "FRR's segments are taken")
    assert not is_up(routed, "10.88.0.1", "n3")


def test_a_router_is_told_of_the_node_as_next_hop_of_anothers_routes_unless_that_is_off(routed: Cluster) -> None:
    tor, beside = routed.site.machine(ROUTER), routed.site.machine(OUTSIDE)
    frr.ask(tor, "configure terminal", "router bgp 64600", "address-family ipv4 unicast", f"network {HALF}")
    transit = {"action": "Accept", "sources": ["Peers"], "prefixes": [{"cidr": HALF}]}
    item = {"kind": "BGPFilter", "metadata": {"name": "transit"}, "spec": {"export": [transit]}}
    routed.apply(json.dumps(BETWEEN | item))

    def has(hop: str) -> bool:
        told = frr.ask_gobgp(beside, "neighbor", "10.88.0.11", "adj-in").splitlines()
        return any({HALF, hop} <= {*line.split()} for line in told)

    for is_self, hop in ((True, "10.88.0.11"), (False, "10.88.0.1")):
        spec = {"asn": 64601, "bothFamilies": False, "filters": ["transit"], "nextHopSelf": is_self}
        routed.apply(peer("gobgp", "n1", "10.88.0.200", **spec))
        until(lambda via=hop: has(via), f"not by {hop}")  # type: ignore[misc]
