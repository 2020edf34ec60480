"""`--service-proxy off`: another proxy serves Services, by the host's connection tracking, and all else goes on."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address

import pytest

from lab import agents, cluster, site, use
from lab.addresses import at_once
from lab.cluster import Cluster
from lab.machine import Machine
from lab.manifests import Object
from lab.site import Options
from lab.use import Client
from tests.lab import modes
from tests.patience import until

pytestmark = [pytest.mark.netns, pytest.mark.kernel]

IPV6_BITS = 128
BEYOND = ("198.18.0.1", "2001:db8:18::1")  # an endpoint that is in no cluster
MASQUERADED = "0x4000"
CONNECT = """
import socket, sys
with socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET) as asking:
    asking.settimeout(2)
    print(str(asking.connect_ex((sys.argv[1], 80)) == 0).lower())
"""
SHORT = (sys.executable, "-c", CONNECT)
POLICY = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: p, namespace: default}}
spec: {spec}
"""
ASKING = "{podSelector: {matchLabels: {app: asking}}, policyTypes: [Egress],"
HERE_ALONE = f"{ASKING} egress: [{{to: [{{podSelector: {{matchLabels: {{app: at-n1}}}}}}]}}]}}"
TO_EVERYBODY = f"{ASKING} egress: [{{}}]}}"
FROM_NOBODY = "{podSelector: {matchLabels: {app: at-n1}}, policyTypes: [Ingress]}"


@dataclass(frozen=True, slots=True)
class Proxied:
    """Two nodes whose agents serve nothing, with rules as kube-proxy's in place of that."""

    cluster: Cluster
    asking: Client  # a pod on n1
    own: frozenset[str]  # its addresses
    backends: dict[str, tuple[list[str], int]]  # by service: the one endpoint's addresses, and its port
    services: dict[str, Object]

    def node(self, name: str) -> Machine:
        """A node."""
        return self.cluster.site.machine(name)

    def asks(self, asking: Client, service: str, *, node: str = "") -> set[str]:
        """As whom the endpoint sees one who asks the cluster IPs, or a node's node port, with large datagrams too."""
        spec = self.services[service]["spec"]
        at = self.node(node).addresses if node else spec["clusterIPs"]
        return modes.both(asking, *((str(address), spec["ports"][0]["nodePort" if node else "port"]) for address in at))

    def hears(self, asking: Client, service: str) -> list[Mapping[str, int]]:
        """The errors that one meets who asks the cluster IPs once, by TCP and by UDP."""
        vips = self.services[service]["spec"]["clusterIPs"]
        return [asking.ask(kind, vip, 80).errors for vip in vips for kind in ("tcp", "udp")]

    def answered(self, service: str) -> list[bool]:
        """Whether the pod is answered at each of the cluster IPs within a short time."""
        vips = self.services[service]["spec"]["clusterIPs"]
        return [json.loads(self.asking.machine.run(*SHORT, vip, context=self.asking.context).stdout) for vip in vips]


def rules(services: dict[str, Object], backends: dict[str, tuple[list[str], int]]) -> str:
    """What kube-proxy would have in nftables for services of one endpoint each."""
    found = []
    for name, service in services.items():
        endpoints, port = backends[name]
        node_port = service["spec"]["ports"][0]["nodePort"]
        for vip, endpoint in zip(service["spec"]["clusterIPs"], endpoints, strict=True):
            family = "ip6" if ":" in vip else "ip"
            to = f"dnat {family} to {f'[{endpoint}]' if ':' in vip else endpoint}:{port}"
            asked = f"{family} daddr {vip} meta l4proto {{ tcp, udp }} th dport 80"
            found.append(f"{family} saddr {endpoint} {asked} meta mark set {MASQUERADED}")
            found.append(f"{asked} {to}")
            asked = f"meta nfproto ipv{ip_address(vip).version} fib daddr type local meta l4proto {{ tcp, udp }}"
            found.append(f"{asked} th dport {node_port} meta mark set {MASQUERADED} {to}")
    lines = "\n".join(found)
    return f"""
table inet proxy {{
  chain services {{ {lines}
  }}
  chain pre {{ type nat hook prerouting priority dstnat; jump services; }}
  chain out {{ type nat hook output priority -100; jump services; }}
  chain post {{ type nat hook postrouting priority srcnat; meta mark {MASQUERADED} masquerade; }}
  chain forward {{ type filter hook forward priority filter; ct state invalid drop; }}
}}
"""


@pytest.fixture(scope="module", params=["native", "vxlan"])
def proxied(request: pytest.FixtureRequest) -> Iterator[Proxied]:
    name = f"swlab-proxy-{request.param}-{os.getpid()}"
    subnets = 1 if request.param == "native" else 2
    try:
        made = cluster.up(name, Options(nodes=2, encapsulation=request.param, subnets=subnets), print)
        backends: dict[str, tuple[list[str], int]] = {}
        services: dict[str, Object] = {}
        for node in made.site.node_names:
            pod, services[f"at-{node}"] = modes.serve(made, f"at-{node}", node, modes.PORT)
            backends[f"at-{node}"] = modes.addresses(pod), modes.PORT
            services[f"on-{node}"] = modes.serve(made, f"on-{node}", node, modes.ON_HOST, host_network=True)[1]
            backends[f"on-{node}"] = [str(a) for a in made.site.machine(node).addresses], modes.ON_HOST
        (services["beyond"],) = made.apply(modes.SERVICE.format(called="beyond", port=modes.PORT))
        backends["beyond"] = list(BEYOND), modes.PORT
        outside = made.site.outside
        for address, bits in zip(BEYOND, (32, 128), strict=True):
            outside.run("ip", "address", "add", f"{address}/{bits}", "dev", "lo", *at_once(address))
            for machine in made.site.nodes:
                via = str(outside.addresses[bits == IPV6_BITS])
                machine.run("ip", "route", "replace", address, "via", via, check=False)  # else by the default route
        outside.daemon("probe", [*modes.PROBE, "serve", str(modes.PORT)])
        pod = made.run("asking", "n1", ["sleep", "infinity"], labels={"app": "asking"})
        for machine in made.site.nodes:
            agents.stop(machine)
            machine.run("nft", rules(services, backends))
            agents.start_again(machine, flags=("--service-proxy=off",))
        for machine in made.site.nodes:
            agents.wait(machine)
        yield Proxied(made, use.client(made, pod), frozenset(modes.addresses(pod)), backends, services)
    finally:
        site.remove(name)


def test_pods_the_node_and_the_outside_are_served_by_the_other_proxy(proxied: Proxied) -> None:
    asking, outside = proxied.asking, use.host(proxied.cluster.site.outside)
    for service in ("at-n1", "at-n2", "on-n1", "on-n2"):
        assert proxied.asks(asking, service) == proxied.own, service
        assert not any(proxied.hears(asking, service)), "the first datagram arrives too"
    for service in ("at-n1", "at-n2"):
        assert not any(proxied.hears(use.host(proxied.node("n1")), service))
        for node in ("n1", "n2"):
            for who in (asking, outside, use.host(proxied.node("n1"))):
                assert proxied.asks(who, service, node=node).isdisjoint(proxied.own), (service, node, who.title)


def test_an_endpoint_beyond_the_cluster_sees_the_node(proxied: Proxied) -> None:
    vips = proxied.services["beyond"]["spec"]["clusterIPs"]
    found = modes.ask(proxied.asking, "tcp", modes.WRITTEN, *((vip, 80) for vip in vips))
    assert set(found.split()) == {str(address) for address in proxied.node("n1").addresses}


def test_policy_judges_whom_the_other_proxy_chose(proxied: Proxied) -> None:
    path = proxied.cluster.site.manifests / "policy.yaml"
    for spec, denied in ((HERE_ALONE, {"at-n2", "beyond"}), (TO_EVERYBODY, set()), (FROM_NOBODY, {"at-n1"})):
        path.with_suffix(".new").write_text(POLICY.format(spec=spec))
        path.with_suffix(".new").rename(path)
        until(partial(is_denied, proxied, denied))
    path.unlink()
    until(partial(is_denied, proxied, set()))


def is_denied(proxied: Proxied, wanted: set[str]) -> bool:
    """Whether the pod is answered by none of these services and all of the others, in both families."""
    return all(proxied.answered(service) == [service not in wanted] * 2 for service in ("at-n1", "at-n2", "beyond"))
