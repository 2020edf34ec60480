"""Whether nodes and pods reach each other: a pod on each node for a minute, that answers and asks.

Its image is the agents' own, which every node has; what runs in it is the script below. It asks and answers by TCP and
UDP, in each family that the pods have.
"""

import contextlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from kubectl_sluiceway.agents import CONTAINER, Agent, DaemonSet, Node
from kubectl_sluiceway.kubectl import Kubectl, PluginError, at_once
from kubectl_sluiceway.table import Row

NAME = "sluiceway-probe"
INSTANCE = "app.kubernetes.io/instance"  # label: which probe's
PORT = 8080
NEIGHBOURS = 3  # that each node asks, so that a large cluster is asked in the time of a small one
POLL_S = 0.5

SERVE = f"""
import selectors, signal, socket, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
port = {PORT}
waits = selectors.DefaultSelector()
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
    try:
        made = socket.socket(socket.AF_INET6, kind)
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        made.bind(("::", port))
    except OSError:
        made = socket.socket(socket.AF_INET, kind)
        made.bind(("0.0.0.0", port))
    if kind == socket.SOCK_STREAM:
        made.listen(64)
    waits.register(made, selectors.EVENT_READ)
while True:
    for key, _ in waits.select():
        try:
            if key.fileobj.type == socket.SOCK_STREAM:
                connection = key.fileobj.accept()[0]
                connection.send(b"here")
                connection.close()
            else:
                key.fileobj.sendto(b"here", key.fileobj.recvfrom(64)[1])
        except OSError:
            pass
"""
ASK = """
import json, socket, sys
def tcp(address, port):
    with socket.create_connection((address, port), timeout=3) as made:
        return True
def syn(address, port):
    try:
        return tcp(address, port)
    except ConnectionRefusedError:
        return True  # by the host itself, so it was reached
def udp(address, port):
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.settimeout(1)
        made.connect((address, port))
        for _ in range(3):
            made.send(b"?")
            try:
                return bool(made.recv(64))
            except socket.timeout:
                pass
        raise TimeoutError("no answer")
seen = []
for protocol, address, port in json.loads(sys.argv[1]):
    try:
        {"TCP": tcp, "SYN": syn, "UDP": udp}[protocol](address, port)
        seen.append("")
    except OSError as error:
        seen.append(str(error) or type(error).__name__)
print(json.dumps(seen))
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where is asked from: a container, and what it stands for."""

    namespace: str
    pod: str
    node: str
    container: str


Target = tuple[str, str, int]  # protocol, address, port; SYN is TCP that is answered, be it by a refusal


def neighbours(names: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Whom each asks: those that follow it in the list, which is a circle; all where they are few."""
    most = min(NEIGHBOURS, len(names) - 1)
    return [(name, [names[(at + n + 1) % len(names)] for n in range(most)]) for at, name in enumerate(names)]


def node_rows(kubectl: Kubectl, nodes: Iterable[Node], found: Iterable[Agent]) -> list[Row]:
    """Whether nodes that have agents answer each other, from these, which have their nodes' network.

    Asked for is the kubelet's port: a firewall between nodes has to let it through. A kubelet that listens at another
    of its node's addresses refuses, and that is an answer.
    """
    agents = list(found)
    served = {agent.node for agent in agents}
    by_name = {node.name: node for node in nodes if node.kubelet_port and node.name in served}
    places = {
        agent.node: Place(agent.namespace, agent.name, agent.node, CONTAINER) for agent in agents if agent.is_ready
    }
    asked = [
        (places[name], to, [("SYN", address, by_name[to].kubelet_port) for address in by_name[to].addresses])
        for name, others in neighbours(sorted(by_name))
        for to in others
        if name in places
    ]
    return _asked(kubectl, "node to node", asked)


def pod_rows(kubectl: Kubectl, found: Iterable[Agent], sets: Sequence[DaemonSet], timeout_s: float) -> list[Row]:
    """Whether pods that are made now reach each other, node by node: on those that the agents' DaemonSet is for.

    Raises:
        PluginError: they could not be made.
    """
    ready = [agent for agent in found if agent.is_ready]
    if not ready:
        return []
    like = next((one for one in sets if one.namespace == ready[0].namespace), None)
    with _pods(kubectl, ready[0].image, like, len(ready), timeout_s) as pods:
        by_node = {pod["spec"]["nodeName"]: pod for pod in pods}
        asked = [
            (
                Place(pod["metadata"]["namespace"], pod["metadata"]["name"], name, NAME),
                to,
                [(protocol, ip["ip"], PORT) for ip in by_node[to]["status"]["podIPs"] for protocol in ("TCP", "UDP")],
            )
            for name, others in neighbours(sorted(by_node))
            for to in others
            for pod in (by_node[name],)
        ]
        return _asked(kubectl, "pod to pod", asked)


def _asked(kubectl: Kubectl, check: str, asked: Sequence[tuple[Place, str, list[Target]]]) -> list[Row]:
    def ask(question: tuple[Place, str, list[Target]]) -> Row:
        place, to, targets = question
        where = f"{place.node} to {to}"
        try:
            seen = _answers(kubectl, place, targets)
        except PluginError as error:
            return Row(check, where, is_well=False, note=str(error))
        bad = [
            f"{p} {address} port {port}: {why}" for (p, address, port), why in zip(targets, seen, strict=True) if why
        ]
        well = ", ".join(dict.fromkeys(f"{p} {'IPv6' if ':' in address else 'IPv4'}" for p, address, _ in targets))
        return Row(check, where, not bad, "; ".join(bad) or well)

    return at_once(ask, asked)


def _answers(kubectl: Kubectl, place: Place, targets: Sequence[Target]) -> list[str]:
    script = ("python3", "-c", ASK, json.dumps(targets))
    text = kubectl.run("exec", "--namespace", place.namespace, place.pod, "-c", place.container, "--", *script)
    found: list[str] = json.loads(text)
    return found


@contextlib.contextmanager
def _pods(
    kubectl: Kubectl, image: str, like: DaemonSet | None, count: int, timeout_s: float
) -> Iterator[list[dict[str, Any]]]:
    """A pod on each node, ready; gone afterwards.

    In a namespace of their own, but for those whose image is pulled by Secrets, which are the agents' namespace's.
    """
    name = f"{NAME}-{uuid4().hex[:8]}"
    has_own = like is None or not like.pod.get("imagePullSecrets")
    namespace = name if like is None or has_own else like.namespace
    made = [_namespace(name)] if has_own else []
    made.append(_daemons(name, namespace, image, like.pod if like else {}))
    try:
        kubectl.run("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": made}))
        deadline = time.monotonic() + timeout_s
        while True:
            pods = kubectl.get("pods", "--namespace", namespace, "--selector", f"{INSTANCE}={name}")["items"]
            if len(pods) >= count and all(map(_is_ready, pods)):
                break
            if time.monotonic() > deadline:
                raise PluginError(f"{sum(map(_is_ready, pods))} of {count} probe pods are ready: {_why(pods)}")
            time.sleep(POLL_S)
        yield pods
    finally:
        gone = ("namespace", name) if has_own else ("daemonset", name, "--namespace", namespace)
        kubectl.run("delete", *gone, "--ignore-not-found", "--wait=false")


def _namespace(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": _labels(name)}}


def _daemons(name: str, namespace: str, image: str, like: Mapping[str, Any]) -> dict[str, Any]:
    """The DaemonSet, on the nodes of agents whose pods' spec is *like* that."""
    container = {
        "name": NAME,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-c", SERVE],
        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "runAsUser": 65534,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    pod = {
        "containers": [container],
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 1,
    }
    same = like or {"tolerations": [{"operator": "Exists"}]}
    pod |= {key: same[key] for key in ("nodeSelector", "tolerations", "imagePullSecrets") if key in same}
    if on_nodes := (like.get("affinity") or {}).get("nodeAffinity"):
        pod["affinity"] = {"nodeAffinity": on_nodes}
    labels = _labels(name)
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}},
    }


def _labels(name: str) -> dict[str, str]:
    return {"app.kubernetes.io/name": NAME, INSTANCE: name}


def _is_ready(pod: dict[str, Any]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod.get("status", {}).get("conditions", ()))


def _why(pods: Iterable[dict[str, Any]]) -> str:
    """What keeps those that are not ready, each said once."""
    said = [
        str(waiting.get("message") or waiting.get("reason"))
        for pod in pods
        if not _is_ready(pod)
        for status in pod.get("status", {}).get("containerStatuses", ())
        if (waiting := status.get("state", {}).get("waiting"))
    ]
    return "; ".join(dict.fromkeys(said)) or "the kubelets have not said why"
