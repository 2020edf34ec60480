"""What must be so of the agents, from what kubectl and dpctl say; nothing here asks."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kubectl_sluiceway.agents import Agent, DaemonSet, Node
from kubectl_sluiceway.table import Row

MOST_PROBLEMS = 5  # shown of a node
LEFT_OUT = "none is wanted: the DaemonSet's selector, affinity or tolerations leave the node out"


def agent_rows(nodes: Iterable[Node], found: Sequence[Agent], sets: Sequence[DaemonSet]) -> list[Row]:
    """Whether every node that is to have an agent has one, that is ready: every node where there is no DaemonSet.

    The DaemonSet's controller says how many nodes those are: while fewer have one, others may lack theirs.
    """
    counts = [one.wanted for one in sets]
    wanted = sum(count for count in counts if count is not None)
    is_short = None in counts or not wanted or len({agent.node for agent in found if agent.node}) < wanted

    def is_left_out(node: Node) -> bool:
        return bool(sets and found) and not (is_short and any(one.may_want(node) for one in sets))

    return [
        _agent_row(node.name, [agent for agent in found if agent.node == node.name], is_left_out=is_left_out(node))
        for node in nodes
    ]


def version_rows(found: Iterable[Agent]) -> list[Row]:
    """Whether all agents are of one image."""
    images = Counter(f"{agent.image} ({agent.image_id})" for agent in found if agent.image_id)
    if not images:
        return []
    if len(images) == 1:
        return [Row("version", "all", is_well=True, note=next(iter(images)))]
    note = ", ".join(f"{count} of {image}" for image, count in images.most_common())
    return [Row("version", "all", is_well=False, note=f"an upgrade is under way, or has stopped: {note}")]


def status_rows(node: str, said: Sequence[Mapping[str, Any]]) -> list[Row]:
    """What ``dpctl status -o json`` says of a node: its maps are in step with the cluster, and nothing is unusable."""
    facts = {str(row["about"]): row for row in said}
    cluster = facts.get("cluster", {"state": "unknown", "note": "dpctl status says nothing of it"})
    is_synced = cluster["state"] == "synced" and not cluster.get("error")
    rows = [Row("sync", node, is_synced, str(cluster.get("note", "")))]
    troubles = [_problem(row) for row in said if row["about"] in {"problem", "part"}]
    shown = troubles[:MOST_PROBLEMS]
    rows += [Row("problem", node, is_well=False, note=text) for text in shown]
    if len(troubles) > len(shown):
        note = f"{len(troubles) - len(shown)} more: kubectl sluiceway dpctl --node {node} status"
        rows.append(Row("problem", node, is_well=False, note=note))
    return rows


def _agent_row(node: str, found: Sequence[Agent], *, is_left_out: bool) -> Row:
    if not found and is_left_out:
        return Row("agent", node, is_well=True, note=LEFT_OUT)
    if not found:
        return Row("agent", node, is_well=False, note="no agent: do the DaemonSet's tolerations and selector fit?")
    if len(found) > 1:
        names = ", ".join(f"{agent.namespace}/{agent.name}" for agent in found)
        return Row("agent", node, is_well=False, note=f"more than one: {names}")
    agent = found[0]
    restarts = f"; started again {agent.restarts} times" if agent.restarts else ""
    state = "ready" if agent.is_ready else agent.trouble or "not ready"
    return Row("agent", node, agent.is_ready, f"{agent.namespace}/{agent.name} {state}{restarts}")


def _problem(row: Mapping[str, Any]) -> str:
    if row["about"] == "part":
        return f"{row['name']}: {row['error']}"
    return f"{row['kind']} {row['object']} {row['field']}: {row['text']}"
