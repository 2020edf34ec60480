"""``kubectl sluiceway report``: what somebody needs who is to say what is wrong, of all nodes, in one archive."""

import io
import json
import tarfile
import time
from collections.abc import Iterable
from pathlib import Path

from kubectl_sluiceway.agents import CONTAINER, SELECTOR, Agent, agents
from kubectl_sluiceway.kubectl import Kubectl, PluginError, at_once
from kubectl_sluiceway.masked import masked

LOG_LINES = "20000"
DPCTL = {
    "status.json": ("status", "-o", "json"),
    "maps.json": ("map", "list", "-o", "json"),
    "services.json": ("service", "list", "-o", "json"),
    "backends.json": ("backend", "list", "-o", "json"),
    "endpoints.json": ("endpoint", "list", "-o", "json"),
    "policies.json": ("policy", "list", "-o", "json"),
    "drops.json": ("drops", "-o", "json"),
}
OBJECT = "objects/"  # files of the API's objects
OBJECTS = ("nodes", "services", "endpointslices", "networkpolicies", "daemonsets", "events")


def write(kubectl: Kubectl, namespace: str, path: Path) -> list[str]:
    """Write the archive, a gzipped tar; returns what could not be had, which is in it too.

    No Secret is read, nothing that an agent shows holds one, and objects have stars in place of passwords.

    Raises:
        PluginError: kubectl cannot list the agents.
        OSError: the file cannot be written.
    """
    found = agents(kubectl, namespace)
    wanted: dict[str, tuple[str, ...]] = {f"{OBJECT}{kind}.json": _objects(kind) for kind in OBJECTS}
    wanted[f"{OBJECT}agents.json"] = ("get", "pods", "--all-namespaces", "--selector", SELECTOR, "-o", "json")
    for agent in found:
        wanted |= _of(agent)
    missing: list[str] = []

    def ask(item: tuple[str, tuple[str, ...]]) -> tuple[str, str]:
        name, words = item
        try:
            text = kubectl.run(*words)
            return name, _without_secrets(text) if name.startswith(OBJECT) else text
        except (PluginError, ValueError) as error:
            missing.append(f"{name}: {error}")
            return name, ""

    files = [(name, text) for name, text in at_once(ask, wanted.items()) if text]
    _pack(path, [*files, ("missing.txt", "".join(f"{line}\n" for line in sorted(missing)))])
    return sorted(missing)


def _objects(kind: str) -> tuple[str, ...]:
    return ("get", kind, *(() if kind == "nodes" else ("--all-namespaces",)), "-o", "json")


def _without_secrets(text: str) -> str:
    return json.dumps(masked(json.loads(text)), indent=1)


def _of(agent: Agent) -> dict[str, tuple[str, ...]]:
    where = ("--namespace", agent.namespace, agent.name, "-c", CONTAINER)
    folder = f"nodes/{agent.node}"
    asked = {f"{folder}/{name}": ("exec", *where, "--", "dpctl", *words) for name, words in DPCTL.items()}
    logs: dict[str, tuple[str, ...]] = {f"{folder}/agent.log": ("logs", *where, "--tail", LOG_LINES)}
    if agent.restarts:
        logs[f"{folder}/agent-before.log"] = ("logs", *where, "--tail", LOG_LINES, "--previous")
    return asked | logs | {f"{folder}/options.yaml": ("exec", *where, "--", "sluiceway-agent", "config", *agent.flags)}


def _pack(path: Path, files: Iterable[tuple[str, str]]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files:
            content = text.encode()
            entry = tarfile.TarInfo(f"sluiceway-report/{name}")
            entry.size, entry.mtime = len(content), int(time.time())
            archive.addfile(entry, io.BytesIO(content))
