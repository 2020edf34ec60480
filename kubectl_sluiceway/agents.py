"""Which pods are agents, of which nodes, and which nodes are to have one."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kubectl_sluiceway.kubectl import Kubectl, PluginError

SELECTOR = "app.kubernetes.io/name=sluiceway,app.kubernetes.io/component=agent"
CONTAINER = "agent"


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent's pod."""

    namespace: str
    name: str
    node: str
    is_ready: bool
    image: str  # as the pod names it
    image_id: str  # as the runtime has it, with its digest; empty while it has none
    restarts: int
    trouble: str = ""  # why it does not run, as the kubelet says
    flags: tuple[str, ...] = ()  # that it was given


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the cluster."""

    name: str
    addresses: tuple[str, ...]  # internal ones
    kubelet_port: int
    is_ready: bool
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DaemonSet:
    """Agents' DaemonSet, as far as it says which nodes are to have one."""

    namespace: str
    wanted: int | None  # nodes, as its controller counts them; None: it has not looked at it yet
    pod: Mapping[str, Any]  # its pods' spec

    def may_want(self, node: Node) -> bool:
        """Whether its nodeSelector lets a node have one; affinity and taints may not."""
        selector: Mapping[str, str] = self.pod.get("nodeSelector") or {}
        return all(node.labels.get(label) == value for label, value in selector.items())


def agents(kubectl: Kubectl, namespace: str = "") -> list[Agent]:
    """All agents, by node; of one namespace if one is given.

    Raises:
        PluginError: kubectl failed.
    """
    pods = kubectl.get("pods", *_where(namespace), "--selector", SELECTOR)["items"]
    found = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
    lives = {pod["spec"].get("nodeName") for pod in found if not _has_ended(pod)}
    kept = (pod for pod in found if not _has_ended(pod) or pod["spec"].get("nodeName") not in lives)
    return sorted(map(_agent, kept), key=lambda agent: agent.node)


def daemon_sets(kubectl: Kubectl, namespace: str = "") -> list[DaemonSet]:
    """Those of the agents; of one namespace if one is given.

    Raises:
        PluginError: kubectl failed.
    """
    return [*map(_daemon_set, kubectl.get("daemonsets", *_where(namespace), "--selector", SELECTOR)["items"])]


def nodes(kubectl: Kubectl) -> list[Node]:
    """All nodes, by name.

    Raises:
        PluginError: kubectl failed.
    """
    return sorted((_node(item) for item in kubectl.get("nodes")["items"]), key=lambda node: node.name)


def agent_of(kubectl: Kubectl, found: Iterable[Agent], node: str, pod: str, namespace: str) -> Agent:
    """The agent of a node, or of the node of a pod (``NAME`` in *namespace*, or ``NAMESPACE/NAME``).

    Raises:
        PluginError: there is none, or nothing says which.
    """
    there = list(found)
    if pod:
        inside, _, name = pod.rpartition("/")
        node = kubectl.get("pod", name, "--namespace", inside or namespace or "default")["spec"].get("nodeName", "")
        if not node:
            raise PluginError(f"pod {pod} is on no node yet")
    if not node and len(there) == 1:
        return there[0]
    names = ", ".join(agent.node for agent in there) or "none"
    if not node:
        raise PluginError(f"which node? give --node NODE or --pod POD; nodes with an agent: {names}")
    for agent in there:
        if agent.node == node:
            return agent
    raise PluginError(f"node {node} has no agent; nodes with one: {names}")


def _where(namespace: str) -> tuple[str, ...]:
    return ("--namespace", namespace) if namespace else ("--all-namespaces",)


def _daemon_set(item: dict[str, Any]) -> DaemonSet:
    status, about = item.get("status", {}), item["metadata"]
    is_current = status.get("observedGeneration", 0) >= about.get("generation", 1)
    wanted = int(status.get("desiredNumberScheduled", 0)) if is_current else None
    return DaemonSet(about["namespace"], wanted, item["spec"]["template"]["spec"])


def _has_ended(pod: dict[str, Any]) -> bool:
    """Whether it never runs again: evicted, or shut down with its node. It stays until somebody takes it away."""
    return pod.get("status", {}).get("phase") in {"Failed", "Succeeded"}


def _is_ready(pod: dict[str, Any], container: dict[str, Any]) -> bool:
    """Whether its container is, and nobody says otherwise of the pod: the kubelet of a dead node takes nothing back."""
    said = {one["type"]: one["status"] for one in pod.get("status", {}).get("conditions", ())}
    return bool(container.get("ready")) and said.get("Ready", "True") == "True"


def _agent(pod: dict[str, Any]) -> Agent:
    status = pod.get("status", {})
    container: dict[str, Any] = next((c for c in status.get("containerStatuses", ()) if c["name"] == CONTAINER), {})
    spec = next(c for c in pod["spec"]["containers"] if c["name"] == CONTAINER)
    return Agent(
        pod["metadata"]["namespace"],
        pod["metadata"]["name"],
        pod["spec"].get("nodeName", ""),
        is_ready=_is_ready(pod, container),
        image=spec["image"],
        image_id=container.get("imageID", ""),
        restarts=int(container.get("restartCount", 0)),
        trouble=_trouble(container, status) or _said_of_pod(status),
        flags=_flags(spec),
    )


def _flags(container: Mapping[str, Any]) -> tuple[str, ...]:
    """What stands behind the agent's ``run``."""
    words = (*(container.get("command") or ()), *(container.get("args") or ()))
    return words[words.index("run") + 1 :] if "run" in words else ()


def _trouble(container: dict[str, Any], status: dict[str, Any]) -> str:
    """Why a container does not run, and what it said when it ended last."""
    state, last = container.get("state", {}), container.get("lastState", {}).get("terminated", {})
    now = state.get("waiting") or state.get("terminated") or {}
    words = (now.get("reason"), now.get("message"), last.get("message"))
    text = "; ".join(str(word).strip() for word in words if word)
    return text or ("" if container else str(status.get("reason") or status.get("phase") or "no container yet"))


def _said_of_pod(status: dict[str, Any]) -> str:
    """Why others say that it is not ready: "NodeNotReady"."""
    said = (one for one in status.get("conditions", ()) if one["type"] == "Ready" and one["status"] != "True")
    return next((str(one.get("reason") or "not ready") for one in said), "")


def _node(item: dict[str, Any]) -> Node:
    status = item.get("status", {})
    port = status.get("daemonEndpoints", {}).get("kubeletEndpoint", {}).get("Port", 0)
    return Node(
        item["metadata"]["name"],
        tuple(a["address"] for a in status.get("addresses", ()) if a["type"] == "InternalIP"),
        int(port),
        any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", ())),
        item["metadata"].get("labels") or {},
    )
