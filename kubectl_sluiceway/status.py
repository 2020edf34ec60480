"""``kubectl sluiceway status``: an installer's check, of everything that must be so."""

import json
import time
from collections.abc import Sequence

from kubectl_sluiceway import probe
from kubectl_sluiceway.agents import CONTAINER, Agent, DaemonSet, agents, daemon_sets, nodes
from kubectl_sluiceway.checks import agent_rows, status_rows, version_rows
from kubectl_sluiceway.kubectl import Kubectl, PluginError, at_once
from kubectl_sluiceway.table import Row

AGAIN_S = 2.0


def look(kubectl: Kubectl, namespace: str, *, probes: bool, timeout_s: float) -> list[Row]:
    """All rows of this moment; packets are sent only where the rest is well.

    Raises:
        PluginError: kubectl cannot reach the API server, or may not ask.
    """
    there, found, sets = nodes(kubectl), agents(kubectl, namespace), _wanted(kubectl, namespace)
    rows = [*agent_rows(there, found, sets), *version_rows(found), *_statuses(kubectl, found)]
    if probes and is_well(rows):
        rows += probe.node_rows(kubectl, there, found)
        rows += probe.pod_rows(kubectl, found, sets, timeout_s)
    return rows


def wait(kubectl: Kubectl, namespace: str, *, probes: bool, timeout_s: float) -> list[Row]:
    """The same, as soon as all is well, or as it is when the time is over; the API server may come meanwhile."""
    deadline = time.monotonic() + timeout_s
    while True:
        left_s = max(1.0, deadline - time.monotonic())
        try:
            rows = look(kubectl, namespace, probes=probes, timeout_s=left_s)
        except PluginError as error:
            rows = [Row("cluster", "-", is_well=False, note=str(error))]
        if is_well(rows) or time.monotonic() > deadline:
            return rows
        time.sleep(AGAIN_S)


def is_well(rows: Sequence[Row]) -> bool:
    """Whether there is something, and nothing is bad."""
    return bool(rows) and all(row.is_well for row in rows)


def _wanted(kubectl: Kubectl, namespace: str) -> Sequence[DaemonSet]:
    """Who says where agents are to be; nobody for whoever may not list DaemonSets."""
    try:
        return daemon_sets(kubectl, namespace)
    except PluginError:
        return ()


def _statuses(kubectl: Kubectl, found: Sequence[Agent]) -> list[Row]:
    def ask(agent: Agent) -> list[Row]:
        words = ("exec", "--namespace", agent.namespace, agent.name, "-c", CONTAINER)
        try:
            return status_rows(agent.node, json.loads(kubectl.run(*words, "--", "dpctl", "status", "-o", "json")))
        except (PluginError, json.JSONDecodeError) as error:
            return [Row("sync", agent.node, is_well=False, note=str(error))]
        except (AttributeError, LookupError, TypeError) as error:
            note = f"dpctl status of {agent.image} prints what is not understood here: {error!r}"
            return [Row("sync", agent.node, is_well=False, note=note)]

    return [row for rows in at_once(ask, (agent for agent in found if agent.is_ready)) for row in rows]
