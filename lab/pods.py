"""What a kubelet does for a pod: its sandbox, its process in a cgroup of its own, its status.

A pod is an object of the manifests folder and nothing else; its container id and process are found from there.
"""

import secrets
import signal
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lab import cgroups
from lab.cni import Sandbox
from lab.errors import LabError
from lab.machine import ENDED_WITHIN_S, ExecContext, Machine
from lab.manifests import Object, name, namespace

_LISTEN = "0A"  # TCP_LISTEN, as /proc/net/tcp has it


@dataclass(frozen=True, slots=True)
class Port:
    """A port that a pod says it serves; it is not Ready before it does."""

    name: str
    number: int
    protocol: str = "TCP"


def pod(  # noqa: PLR0913, a Pod's own fields
    space: str,
    called: str,
    node: str,
    command: Sequence[str],
    *,
    labels: Mapping[str, str],
    ports: Sequence[Port],
    host_network: bool = False,
    annotations: Mapping[str, str] | None = None,
) -> Object:
    """A Pod as somebody creates it, already scheduled."""
    container = {
        "name": "main",
        "command": list(command),
        "ports": [{"name": p.name, "containerPort": p.number, "protocol": p.protocol} for p in ports],
    }
    uid = str(uuid.uuid4())
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": called,
            "namespace": space,
            "uid": uid,
            "labels": dict(labels),
            "annotations": dict(annotations or {}),
        },
        "spec": {"nodeName": node, "hostNetwork": host_network, "containers": [container]},
        "status": {"phase": "Pending"},
    }


def start(machine: Machine, item: Object) -> Object:
    """Connect a pod and run its command; the Pod with its addresses.

    Raises:
        LabError: the network or the command could not be started; nothing is left then.
    """
    container_id = secrets.token_hex(32)
    sandbox = _sandbox(machine, item, container_id)
    nodes = tuple(str(address) for address in machine.addresses)
    addresses = sandbox.create() if sandbox else nodes
    (machine.cgroups.unified / machine.name / _group(item)).mkdir(parents=True, exist_ok=True)
    command = item["spec"]["containers"][0]["command"]
    log(machine, item).unlink(missing_ok=True)  # of an earlier pod of this name
    own = {"POD_NAME": name(item), "POD_NAMESPACE": namespace(item), "POD_IP": addresses[0] if addresses else ""}
    try:
        machine.daemon(_daemon(item), command, own, ExecContext(_group(item), sandbox.netns if sandbox else None))
    except LabError:
        if sandbox:
            sandbox.remove()
        raise
    status = {
        "phase": "Running",
        "podIP": addresses[0] if addresses else "",
        "podIPs": [{"ip": address} for address in addresses],
        "hostIP": nodes[0],
        "hostIPs": [{"ip": address} for address in nodes],
        "containerStatuses": [{"name": "main", "containerID": f"lab://{container_id}"}],
    }
    return with_readiness(machine, {**item, "status": status})


def with_readiness(machine: Machine, item: Object) -> Object:
    """The Pod, Ready when its process runs and serves its ports."""
    process = machine.daemon_process(_daemon(item))
    is_ready = process is not None and all(
        port["containerPort"] in _bound(process, port["protocol"]) for port in item["spec"]["containers"][0]["ports"]
    )
    conditions = [{"type": "Ready", "status": str(is_ready)}]
    phase = item["status"]["phase"] if process is not None or item["status"]["phase"] == "Pending" else "Failed"
    return {**item, "status": {**item["status"], "phase": phase, "conditions": conditions}}


def is_ready(item: Object) -> bool:
    """Whether the Pod's status says so."""
    conditions = item["status"].get("conditions", ())
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def leaving(item: Object) -> Object:
    """The Pod as it is between its deletion and its end."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {**item, "metadata": {**item["metadata"], "deletionTimestamp": now}}


def stop(machine: Machine, item: Object) -> None:
    """End a pod's processes and give its network back.

    Raises:
        CommandFailedError: the CNI plugin refused.
    """
    machine.stop(_daemon(item))
    group = machine.cgroups.unified / machine.name / _group(item)
    cgroups.empty(group)
    container_id = _container_id(item)
    sandbox = _sandbox(machine, item, container_id)
    if container_id and sandbox:
        sandbox.remove()


def command(machine: Machine, item: Object, argv: Sequence[str]) -> list[str]:
    """*argv*, to be run in a pod from a process of the host."""
    return machine.command(argv, exec_context(machine, item))


def exec_context(machine: Machine, item: Object) -> ExecContext:
    """The cgroup and the network namespace of a pod's processes."""
    sandbox = _sandbox(machine, item, _container_id(item))
    return ExecContext(_group(item), sandbox.netns if sandbox else None)


def log(machine: Machine, item: Object) -> Path:
    """What the pod's process printed."""
    return machine.home / f"{_daemon(item)}.log"


def end(machine: Machine, item: Object, how: signal.Signals, within_s: float = ENDED_WITHIN_S) -> None:
    """End the pod's process and nothing else of it; returns when it has ended, and kills it after so many seconds."""
    machine.stop(_daemon(item), how, within_s)


def _sandbox(machine: Machine, item: Object, container_id: str) -> Sandbox | None:
    """The pod's own network; None when it is on its node's."""
    if item["spec"].get("hostNetwork"):
        return None
    meta = item["metadata"]
    return Sandbox(machine, container_id, namespace(item), name(item), meta["uid"], meta.get("annotations") or {})


def _container_id(item: Object) -> str:
    statuses: Sequence[Mapping[str, Any]] = item["status"].get("containerStatuses", ())
    return next((str(s["containerID"]).removeprefix("lab://") for s in statuses), "")


def _daemon(item: Object) -> str:
    return f"pod-{namespace(item)}_{name(item)}"


def _group(item: Object) -> str:
    return f"{cgroups.PODS}/{namespace(item)}_{name(item)}"


def _bound(process: int, protocol: str) -> set[int]:
    """The ports of a protocol that somebody serves in the process's network namespace."""
    found = set()
    for file in (protocol.lower(), f"{protocol.lower()}6"):
        try:
            lines = Path(f"/proc/{process}/net/{file}").read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            _, local, _, state = line.split()[:4]
            if protocol != "TCP" or state == _LISTEN:
                found.add(int(local.rpartition(":")[2], 16))
    return found
