"""A node on which the bridge plugin makes the pods' network, and ours comes behind it for policy alone."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha512
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

from lab.kubernetes import build
from tests.netns.agents import READY_S, Node
from tests.netns.cnitool import OURS, Tool
from tests.netns.pods import CLUSTER6, Answer, Runtime
from tests.patience import PATIENCE_S

PROBE = Path(__file__).parent.parent / "lab/probe.py"
PORTS = (8080, 9090)
PORT_KEYS = ("ifindex", "ifname", "address", "mtu", "operstate")
DENIED_S = 1.0
SETTLE_S = PATIENCE_S
FAR, FAR6 = "192.0.2.9", "2001:db8::9"
ASK = """
import socket, sys
kind, address, port, seconds, size = sys.argv[1:]
with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, getattr(socket, kind)) as asking:
    asking.settimeout(float(seconds))
    try:
        asking.connect((address, int(port)))
        asking.send(b"x" * int(size))
        print("answered", asking.recv(99).decode().split()[0], end="")
    except OSError as error:
        print(type(error).__name__, end="")
"""
STREAM = """
import socket, time
with socket.create_connection(("{address}", {port}), 30) as stream:
    stream.recv(99)
    print(flush=True)
    while True:
        stream.sendall(b"x")
        if not stream.recv(9):
            break
        time.sleep(0.05)
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: default}}
spec:
  clusterIP: "{vip}"
  clusterIPs: ["{vip}"]
  ipFamilies: [{family}]
  ports:
    - {{name: t, port: 80, protocol: TCP}}
    - {{name: u, port: 80, protocol: UDP}}
    - {{name: n, port: 81, protocol: UDP}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-1, namespace: default, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: {family}
ports:
  - {{name: t, port: 8080, protocol: TCP}}
  - {{name: u, port: 8080, protocol: UDP}}
  - {{name: n, port: 7070, protocol: UDP}}
endpoints: [{{addresses: ["{backend}"], conditions: {{ready: true}}}}]
"""


@dataclass
class BridgedNode:
    """A node with an uplink, a neighbour there, and pods."""

    node: Node
    runtime: Runtime
    tool: Tool
    labels: dict[str, str] = field(default_factory=dict)  # of pods, by their name
    addresses: dict[str, tuple[str, ...]] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)  # of ADD
    servers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def chain(self, *more: Mapping[str, Any], maker: str = "bridge", version: str = "1.0.0") -> None:
        """Have a conflist as flannel's, with these plugins behind the one that makes interfaces."""
        ranges = [[{"subnet": "10.244.0.0/24"}], [{"subnet": "fd00:244::/64"}]]
        routes = [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
        first: dict[str, Any] = {"type": maker, "ipam": {"type": "host-local", "ranges": ranges}}
        if maker == "bridge":
            first |= {"bridge": "cni0", "isDefaultGateway": True, "hairpinMode": True}
        else:
            first["ipam"]["routes"] = routes
        if maker == "macvlan":
            first["master"] = "u0"
        self.tool.write({"cniVersion": version, "name": "sluiceway", "plugins": [first, *more]})

    def ours(self) -> dict[str, Any]:
        """Our entry in the conflist."""
        return {
            "type": OURS,
            "socket": str(self.node.root / "run/cni.sock"),
            "capabilities": {"bandwidth": True},
        }

    def pod(self, app: str) -> str:
        """A pod with this label, not attached yet; its name."""
        name = self.runtime.make()
        self.labels[name] = app
        self.tell()
        return name

    def add(self, pod: str) -> Any:
        """Attach it by the chain, and serve on PORTS in it."""
        result = self.does("add", pod)
        self.addresses[pod] = tuple(str(ip_interface(ip["address"]).ip) for ip in result["ips"])
        self.results[pod] = result
        self.runtime.inside(pod, "ip", "link", "set", "lo", "up")
        self.serve(pod)
        self.tell()
        return result

    def forget(self, pod: str) -> None:
        """Have the manifests name it no more."""
        self.labels.pop(pod)
        self.tell()

    def container(self, pod: str) -> str:
        """The container's id, as cnitool makes it."""
        return f"cnitool-{sha512(f'/run/netns/{pod}'.encode()).hexdigest()[:20]}"

    def only_ours(self, command: str, pod: str) -> Answer:
        """A command of our plugin's alone."""
        result = self.results[pod]
        return self.runtime.call(command, pod, self.container(pod), version="1.0.0", prevResult=result)

    def ports(self) -> list[tuple[object, ...]]:
        """The bridge's ports, as their owner made them."""
        return [tuple(link[key] for key in PORT_KEYS) for link in json.loads(self.node.ip("-j link show master cni0"))]

    def starts(self, netns: str, code: str) -> subprocess.Popen[bytes]:
        """A program in a namespace, which has printed a line; it ends with the node, or before."""
        argv = ["nsenter", f"--net=/run/netns/{netns}", sys.executable, "-c", code]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.servers.append(process)
        assert process.stdout
        process.stdout.readline()
        return process

    def streams(self, netns: str, pod: str) -> subprocess.Popen[bytes]:
        """A connection to a pod by which something goes there and back all the time; it ends when that does not."""
        return self.starts(netns, STREAM.format(address=self.addresses[pod][0], port=PORTS[0]))

    def serve(self, netns: str) -> None:
        """Serve in a namespace, TCP and UDP, both families."""
        for port in PORTS:
            argv = ["nsenter", f"--net=/run/netns/{netns}", sys.executable, str(PROBE), "serve", str(port)]
            self.servers.append(subprocess.Popen(argv))

    def does(self, verb: str, pod: str, **environment: str) -> Any:
        """A command of the chain's."""
        return self.tool.does(verb, pod, **self.args(pod), **environment)

    def args(self, pod: str) -> dict[str, str]:
        """The pod's name, as runtimes tell it."""
        return {"CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={pod}"}

    def tell(self) -> None:
        """Have the manifests name all pods."""
        parts = ["apiVersion: v1\nkind: Namespace\nmetadata: {name: default}\n"]
        for name, app in self.labels.items():
            ips = ", ".join(f'{{ip: "{address}"}}' for address in self.addresses.get(name, ()))
            parts.append(
                f"apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: default, labels: {{app: {app}}}}}\n"
                f"spec: {{nodeName: n1}}\nstatus: {{phase: Running, podIPs: [{ips}]}}\n"
            )
        self.write("pods", "---\n".join(parts))

    def write(self, name: str, text: str) -> None:
        """A file of manifests."""
        path = self.node.root / f"manifests/{name}.yaml"
        path.with_suffix(".new").write_text(text)
        path.with_suffix(".new").rename(path)

    def policy(self, spec: str = "") -> None:
        """The one policy there is; none where *spec* is empty."""
        head = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: default}\n"
        self.write("policy", f"{head}spec: {spec}\n" if spec else "")

    def service(self, name: str, vip: str, backend: str) -> None:
        """A service of one backend."""
        family = "IPv6" if ":" in vip else "IPv4"
        self.write(f"service-{name}", SERVICE.format(name=name, vip=vip, family=family, backend=backend))

    def ask(self, netns: str, kind: str, address: str, port: int, size: int = 1) -> str:
        """Who asked with so many octets, as the server saw it; or the error's name."""
        words = (f"SOCK_{kind}", address, str(port), str(DENIED_S), str(size))
        return self.node.run("nsenter", f"--net=/run/netns/{netns}", sys.executable, "-c", ASK, *words)

    def passes(self, netns: str, pod: str, port: int = PORTS[0]) -> set[tuple[str, int]]:
        """Protocol and IP version of what passes to a pod."""
        return {
            (kind, 6 if ":" in address else 4)
            for kind in ("STREAM", "DGRAM")
            for address in self.addresses[pod]
            if self.ask(netns, kind, address, port).startswith("answered")
        }

    def wait_passes(self, netns: str, pod: str, wanted: set[tuple[str, int]], port: int = PORTS[0]) -> None:
        """Until just that passes."""
        deadline = time.monotonic() + SETTLE_S
        while (found := self.passes(netns, pod, port)) != wanted:
            assert time.monotonic() < deadline, found

    def wait_asks(self, netns: str, kind: str, address: str, port: int, wanted: str) -> None:
        """Until a question ends so."""
        deadline = time.monotonic() + SETTLE_S
        while not (found := self.ask(netns, kind, address, port)).startswith(wanted):
            assert time.monotonic() < deadline, found

    @property
    def far(self) -> str:
        """The neighbour's namespace."""
        return f"{self.node.name}far"


ALL = {(kind, version) for kind in ("STREAM", "DGRAM") for version in (4, 6)}
NONE: set[tuple[str, int]] = set()


@contextmanager
def bridged(root: Path, name: str) -> Iterator[BridgedNode]:
    """A node without an agent; its FORWARD drops what its connection tracking does not know, as kube-proxy's does."""
    made = Node.make(f"{name}{os.getpid()}", root)
    (root / "manifests/cluster.yaml").write_text(CLUSTER6)
    far = f"{made.name}far"
    made.run("ip", "netns", "add", far)
    made.ip("addr add 2001:db8::1/64 dev u0 nodad")
    made.ip(f"link set u1 netns {far}")
    for words in (
        "addr add 192.0.2.9/24 dev u1",
        "addr add 2001:db8::9/64 dev u1 nodad",
        "link set u1 up",
        "link set lo up",
        "route add 10.244.0.0/24 via 192.0.2.1",
        "route add fd00:244::/64 via 2001:db8::1",
    ):
        made.run("ip", "-netns", far, *words.split())
    made.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    made.run("sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=1", "net.bridge.bridge-nf-call-ip6tables=1")
    table = "table inet t { chain f { type filter hook forward priority 0; ct state invalid counter drop; }; }"
    made.run("nft", table)
    runtime = Runtime(made)
    (root / "bin/sluiceway-cni").symlink_to(runtime.command("ADD", "none")[0][0])
    site = BridgedNode(made, runtime, Tool(runtime, build.cni_programs(print)))
    site.chain(site.ours())
    try:
        yield site
    finally:
        for server in site.servers:
            server.kill()
            server.wait(READY_S)
            if server.stdout:
                server.stdout.close()
        runtime.close()
        subprocess.run(["ip", "netns", "del", far], check=True)
        made.remove()
