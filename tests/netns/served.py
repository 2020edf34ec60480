"""Services on a node of `bridged`, and who asks them: pods, processes of the node, a neighbour with pods of its own."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable

from tests.netns.bridged import DENIED_S, SETTLE_S, BridgedNode

NODE_PORT, CHECK_PORT = 30080, 30900
SERVED_S = 20.0  # within which an answer comes that is to come
NODE_AT = ("192.0.2.1", "2001:db8::1")
CLUSTER_IPS = {"here": ("10.96.0.10", "fd00:10:96::10"), "there": ("10.96.0.20", "fd00:10:96::20")}
EXTERNAL = {"here": ("198.51.100.10", "2001:db8:e::10"), "there": ("198.51.100.20", "2001:db8:e::20")}
BALANCER = {"here": ("203.0.113.10", "2001:db8:b::10"), "there": ("203.0.113.20", "2001:db8:b::20")}
FAR_POD = ("10.244.1.5", "fd00:244:1::5")  # endpoints at the neighbour, reached by routes
OVERLAY_POD = "10.244.2.5"  # and by an overlay of somebody else's
ASKS = """
import json, socket, sys, threading
seconds, targets = float(sys.argv[1]), json.loads(sys.argv[2])
found = {}
def ask(kind, address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, getattr(socket, "SOCK_" + kind)) as asking:
        asking.settimeout(seconds)
        try:
            asking.connect((address, port))
            if kind == "DGRAM":
                asking.send(b"x")
            found[f"{kind} {address} {port}"] = asking.recv(99).decode().split()[0].removeprefix("::ffff:")
        except OSError as error:
            found[f"{kind} {address} {port}"] = type(error).__name__
threads = [threading.Thread(target=ask, args=target) for target in targets]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps(found))
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: default}}
spec:
  type: LoadBalancer
  clusterIP: "{vips[0]}"
  clusterIPs: ["{vips[0]}", "{vips[1]}"]
  ipFamilies: [IPv4, IPv6]
  externalIPs: ["{external[0]}", "{external[1]}"]
  externalTrafficPolicy: {policy}
  healthCheckNodePort: {check}
  ports:
    - {{name: t, port: 80, protocol: TCP, nodePort: {port}}}
    - {{name: u, port: 80, protocol: UDP, nodePort: {port}}}
status: {{loadBalancer: {{ingress: [{{ip: "{balancer[0]}"}}, {{ip: "{balancer[1]}"}}]}}}}
"""
SLICE = """
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-{family}, namespace: default, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: {family}
ports: [{{name: t, port: 8080, protocol: TCP}}, {{name: u, port: 8080, protocol: UDP}}]
endpoints: [{endpoints}]
"""


def serve(site: BridgedNode, here: str = "", *, there: Iterable[str] = FAR_POD) -> None:
    """A service of a pod here, with external policy Local, and one of endpoints elsewhere."""
    for index, (name, backends) in enumerate({"here": site.addresses.get(here, ()), "there": tuple(there)}.items()):
        local = name == "here"
        texts = [
            SERVICE.format(
                name=name,
                vips=CLUSTER_IPS[name],
                external=EXTERNAL[name],
                balancer=BALANCER[name],
                policy="Local" if local else "Cluster",
                check=CHECK_PORT if local else 0,
                port=NODE_PORT + index,
            )
        ]
        for address in backends:
            family, node = "IPv6" if ":" in address else "IPv4", "n1" if local else "n2"
            one = f'{{addresses: ["{address}"], nodeName: {node}, conditions: {{ready: true}}}}'
            texts.append(SLICE.format(name=name, family=family, endpoints=one))
        site.write(f"service-{name}", "---".join(texts))


def neighbour(site: BridgedNode) -> None:
    """Have the neighbour be another node, with a pod that is reached by routes; it leads on what is no service's."""
    far = site.far
    _pod(site, "p0", FAR_POD, ("10.244.1.1", "fd00:244:1::1"))
    words = []
    for service in ("here", "there"):
        for v4, v6 in (EXTERNAL[service], BALANCER[service]):
            words += [f"route add {v4} via 192.0.2.1", f"route add {v6} via 2001:db8::1"]
    _ip(site, far, *words)
    site.runtime.inside(far, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    far4, far6 = "via 192.0.2.9", "via 2001:db8::9"
    ways = (f"default {far4}", f"default {far6}", f"10.244.1.0/24 {far4}", f"fd00:244:1::/64 {far6}")
    _ip(site, site.node.name, *(f"route add {way}" for way in ways))


def overlay(site: BridgedNode) -> None:
    """Give the neighbour a pod that is reached by VXLAN, each node under an address of its own there, as by flannel."""
    _pod(site, "p1", (OVERLAY_POD, "fd00:244:2::5"), ("10.244.2.1", "fd00:244:2::1"))
    ends = ((site.node.name, "u0", "192.0.2.1", "10.244.0.0"), (site.far, "u1", "192.0.2.9", "10.244.2.0"))
    for (netns, device, local, own), (_, _, remote, other) in (ends, ends[::-1]):
        _ip(
            site,
            netns,
            f"link add flannel.1 type vxlan id 1 local {local} remote {remote} dev {device} dstport 8472",
            f"addr add {own}/32 dev flannel.1",
            "link set flannel.1 up",
            f"route add {other} dev flannel.1",
        )
    _ip(site, site.node.name, "route add 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink")


def _pod(site: BridgedNode, device: str, own: tuple[str, str], gateways: tuple[str, str]) -> None:
    """A pod of the neighbour's that serves, behind this device there."""
    pod = site.runtime.make()
    _ip(
        site,
        site.far,
        f"link add {device} type veth peer name eth0 netns {pod}",
        f"link set {device} up",
        f"addr add {gateways[0]}/24 dev {device}",
        f"addr add {gateways[1]}/64 dev {device} nodad",
    )
    _ip(
        site,
        pod,
        "link set eth0 up",
        f"addr add {own[0]}/24 dev eth0",
        f"addr add {own[1]}/64 dev eth0 nodad",
        *(f"route add default via {gateway}" for gateway in gateways),
    )
    site.serve(pod)


def _ip(site: BridgedNode, netns: str, *commands: str) -> None:
    for words in commands:
        site.node.run("ip", "-netns", netns, *words.split())


def places(name: str, *, outside: bool = False, families: tuple[int, ...] = (0, 1)) -> list[tuple[str, int]]:
    """Every address and port at which a service is reached, by who is outside or in the cluster."""
    port = NODE_PORT + list(CLUSTER_IPS).index(name)
    found = []
    for family in families:
        found += [(NODE_AT[family], port), (EXTERNAL[name][family], 80), (BALANCER[name][family], 80)]
        if not outside:
            found.append((CLUSTER_IPS[name][family], 80))
    return found


def asks(
    site: BridgedNode,
    netns: str,
    targets: Iterable[tuple[str, int]],
    *,
    sockets: bool = False,
    wait_s: float = DENIED_S,
) -> dict[str, str]:
    """As whom the servers saw the client, or the error, by "KIND address port"; *sockets*: in the agent's cgroup."""
    wanted = json.dumps([(kind, *target) for target in targets for kind in ("STREAM", "DGRAM")])
    command = ["nsenter", f"--net=/run/netns/{netns}", sys.executable, "-c", ASKS, str(wait_s), wanted]
    if sockets:
        command = ["sh", "-c", f'echo $$ > {site.node.cgroup}/cgroup.procs && exec "$@"', "sh", *command]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def unserved(
    site: BridgedNode, netns: str, targets: Iterable[tuple[str, int]], *, sockets: bool = False
) -> dict[str, str]:
    """Those of :func:`asks` that have no answer, in the time that a busy machine may take for one."""
    found = asks(site, netns, targets, sockets=sockets, wait_s=SERVED_S)
    return {name: word for name, word in found.items() if word.isalpha()}


def wait_attached(site: BridgedNode, pods: int) -> None:
    """Until so many pods have their programs."""
    deadline = time.monotonic() + SETTLE_S
    while len(pins := site.runtime.pins()) != 2 * pods:
        assert time.monotonic() < deadline, pins
        time.sleep(0.05)


def wait_served(site: BridgedNode, netns: str, targets: list[tuple[str, int]]) -> None:
    """Until all is answered."""
    _wait(site, netns, targets, lambda word: not word.isalpha())


def wait_refused(site: BridgedNode, netns: str, targets: list[tuple[str, int]]) -> None:
    """Until all is refused."""
    _wait(site, netns, targets, lambda word: word == "ConnectionRefusedError")


def wait_silent(site: BridgedNode, netns: str, targets: list[tuple[str, int]]) -> None:
    """Until nothing is answered, and nobody told so."""
    _wait(site, netns, targets, lambda word: word == "TimeoutError")


def _wait(site: BridgedNode, netns: str, targets: list[tuple[str, int]], is_wanted: Callable[[str], bool]) -> None:
    deadline = time.monotonic() + SETTLE_S
    while left := {name: word for name, word in asks(site, netns, targets).items() if not is_wanted(word)}:
        assert time.monotonic() < deadline, left
