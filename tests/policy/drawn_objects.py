"""Random namespaces, nodes and pods."""

from collections.abc import Sequence
from random import Random

from tests.policy.drawing import NAMES, NAMESPACE_LABELS, NODE_LABELS, POD_LABELS, Options, chance, labels, some
from tests.policy.facts import ENDED, Object

HOSTS = range(2, 40)
"""What a pod's address may end in; few, so that addresses are used again."""


def namespaces(rng: Random, options: Options) -> list[Object]:
    """Two to four namespaces, with the label that the API server gives them."""
    return [
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": namespace_labels(rng, options, name)},
        }
        for name in (f"{options.prefix}{letter}" for letter in "xyzw"[: rng.randint(2, 4)])
    ]


def namespace_labels(rng: Random, options: Options, name: str) -> dict[str, str]:
    """Labels of the namespace of that name."""
    return {**labels(rng, NAMESPACE_LABELS), "kubernetes.io/metadata.name": name, **options.mark}


def nodes(rng: Random, options: Options) -> list[Object]:
    """The nodes, each with internal addresses of both families and mostly an external one."""
    return [_node(rng, options, index, name) for index, name in enumerate(options.nodes, start=1)]


def _node(rng: Random, options: Options, index: int, name: str) -> Object:
    written = [
        {"type": "Hostname", "address": name},
        {"type": "InternalIP", "address": f"10.88.0.{10 + index}"},
        {"type": "InternalIP", "address": f"fd88::{10 + index}"},
    ]
    if chance(rng, 70):
        written.append({"type": "ExternalIP", "address": f"198.51.100.{index}"})
    made: Object = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels(rng, NODE_LABELS)}}
    if not options.real:
        made["spec"] = {"podCIDRs": [f"10.244.{index}.0/24", f"fd00:{index}::/64"]}
        made["status"] = {"addresses": written}
    return made


def pods(rng: Random, options: Options, homes: Sequence[Object], hosts: Sequence[Object]) -> list[Object]:
    """Three to twelve pods, the first two on the two nodes, in the first two namespaces."""
    made: list[Object] = []
    for index in range(rng.randint(3, 12)):
        home = homes[index] if index < 2 else rng.choice(homes)
        host = hosts[index % len(hosts)] if index < 2 else rng.choice(hosts)
        made.append(pod(rng, options, f"pod-{index}", home, host, made))
    return made


def pod(rng: Random, options: Options, name: str, home: Object, host: Object, others: Sequence[Object]) -> Object:
    """A pod of namespace *home* on node *host* with addresses that none of *others* has."""
    on_host = chance(rng, 10) and not (options.real and any(_shares(one, host) for one in others))
    spec: Object = {"nodeName": host["metadata"]["name"], "containers": _containers(rng, options)}
    if on_host:
        spec["hostNetwork"] = True
    made: Object = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": home["metadata"]["name"], "name": name, "labels": labels(rng, POD_LABELS)},
        "spec": spec,
    }
    if not options.real:
        made["metadata"]["uid"] = f"{rng.getrandbits(64):016x}"
        made["status"] = status(rng, host, others, on_host=on_host)
    return made


def _shares(one: Object, host: Object) -> bool:
    """Whether the pod is on this node's network: a second one's servers would find their ports taken."""
    return bool(one["spec"].get("hostNetwork")) and one["spec"]["nodeName"] == host["metadata"]["name"]


def _containers(rng: Random, options: Options) -> list[Object]:
    """One or two containers; the named ports are another number on each pod, or not there."""
    entries = [
        {"name": name, "containerPort": number, "protocol": rng.choice(_protocols(options, name))}
        for name, number in zip(NAMES, some(rng, options.all_ports, len(NAMES), len(NAMES)), strict=False)
        if chance(rng, 70)
    ]
    if chance(rng, 20) and not options.real:
        return [
            {"name": "main", "image": options.image, "ports": entries[:1]},
            {"name": "other", "image": options.image, "ports": entries[1:]},
        ]
    return [{"name": "main", "image": options.image, "ports": entries}]


def _protocols(options: Options, name: str) -> tuple[str, ...]:
    if name == "web":
        return ("TCP",)
    return ("TCP", "UDP") if options.real else ("TCP", "UDP", "SCTP")


def status(rng: Random, host: Object, others: Sequence[Object], *, on_host: bool) -> Object:
    """Where the pod is in its life, and its addresses: mostly two, sometimes one family's or none yet."""
    if on_host:
        inner = [entry for entry in host["status"]["addresses"] if entry["type"] == "InternalIP"]
        return {"phase": "Running", "podIPs": [{"ip": entry["address"]} for entry in inner]}
    kind = rng.randint(1, 20)
    if kind == 1:
        return {"phase": "Pending"}
    index = host["spec"]["podCIDRs"][0].split(".")[2]
    taken = {entry["ip"] for one in others for entry in live_addresses(one)}
    pairs = [(f"10.244.{index}.{end}", f"fd00:{index}::{end}") for end in HOSTS]
    both = [{"ip": one} for one in rng.choice([pair for pair in pairs if taken.isdisjoint(pair)])]
    phase = {2: "Pending", 3: rng.choice(ENDED)}.get(kind, "Running")
    return {"phase": phase, "podIPs": {4: both[:1], 5: both[1:]}.get(kind, both)}


def live_addresses(one: Object) -> list[Object]:
    """The podIPs that a pod still holds."""
    status = one.get("status", {})
    return [] if status.get("phase") in ENDED else status.get("podIPs") or []
