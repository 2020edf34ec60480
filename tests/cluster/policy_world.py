"""A random world of `tests.policy` on the real cluster: created, changed, and asked about by real flows."""

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from random import Random

from lab.kubernetes import images
from lab.kubernetes.cluster import Cluster
from lab.kubernetes.kubectl import KubectlError
from tests.cluster import nodes
from tests.cluster.nodes import Sockets
from tests.cluster.objects import Manifest, together
from tests.policy.drawing import NODE_LABELS, REAL_PORTS, Options, chance
from tests.policy.facts import Address, Flow, Object, World, address, addresses, node_addresses, pod_at
from tests.policy.oracle import verdict
from tests.policy.worlds import change, events, flows, governed, inhabited

WITHIN_S = 0.7  # before TCP's first retransmission
SETTLED_S = 0.5  # an agent needs a tenth of it
AGAIN_S = 1.0
ANSWERED_S = 5.0  # by whoever answers on a busy machine; of who is denied no segment passes that is sent again
PASSED, SILENT = "passed", "silent"


@dataclass(frozen=True, slots=True)
class Wrong:
    """A flow that ended otherwise than the oracle says, twice."""

    flow: Flow
    through: str  # the address that was asked: the destination's or its service's
    ended: str
    why: str

    def __str__(self) -> str:
        flow = self.flow
        by = "" if self.through == str(flow.destination) else f" through {self.through}"
        return f"{flow.source} to {flow.destination}{by}, {flow.protocol} {flow.port}: {self.ended}; {self.why}"


@dataclass
class Trial:
    """A world on the cluster; *asked* and *late* count flows, and those that were right only the second time."""

    cluster: Cluster
    sockets: Mapping[str, Sockets]
    rng: Random
    options: Options
    world: World = field(default_factory=World)
    services: Mapping[Address, str] = field(default_factory=dict)  # by the address of the pod behind
    asked: int = 0
    passed: int = 0
    late: int = 0
    _known: dict[tuple[str, str], str] = field(default_factory=dict)  # pods' network namespaces

    def inhabit(self) -> None:
        """Create namespaces, pods and a service for each pod, and let servers listen in all of them."""
        drawn = inhabited(self.rng, self.options)
        self.world = replace(self.world, namespaces=drawn.namespaces)
        self._apply(drawn.namespaces)
        self._apply([_startable(pod) for pod in drawn.pods])
        for home in sorted({pod["metadata"]["namespace"] for pod in drawn.pods}):
            self._kubectl("wait", "--for=condition=Ready", "pod", "--all", "--timeout=300s", "-n", home)
        self.world = self._read()
        self._apply([one for pod in self.world.pods for one in _service(pod)])
        self.services = self._addresses_of_services()
        calls = []
        for node, each in self.sockets.items():
            listening = {self._netns(pod) for pod in self.world.pods if pod["spec"]["nodeName"] == node}
            calls.append((each, "serve", {"netns": sorted(listening), "ports": list(REAL_PORTS)}))
        nodes.together(calls)

    def govern(self) -> None:
        """Other policies, drawn anew."""
        self._become(governed(self.world, self.rng, self.options))

    def change(self) -> str:
        """One change, in words."""
        made = change(self.world, self.rng, self.options)
        self._become(made.world)
        return made.what

    def wrong(self, count: int) -> list[Wrong]:
        """Try *count* random flows; those that end otherwise than the oracle says are tried once more."""
        drawn = [(flow, self._through(flow)) for flow in flows(self.world, self.rng, count, self.options)]
        self.asked += len(drawn)
        first = self._differing(drawn)
        self.passed += sum(verdict(self.world, flow).allowed for flow, _ in drawn)
        if not first:
            return []
        time.sleep(AGAIN_S)
        second = self._differing([(one.flow, one.through) for one in first], ANSWERED_S)
        self.late += len(first) - len(second)
        return second

    def _differing(self, asked: Sequence[tuple[Flow, str]], within_s: float = WITHIN_S) -> list[Wrong]:
        found = []
        for (flow, through), ended in zip(asked, self._ends(asked, within_s), strict=True):
            said = verdict(self.world, flow)
            if ended != (PASSED if said.allowed else SILENT):
                why = "; ".join(f"{each.allowed}: {each.reason}" for each in (said.egress, said.ingress))
                found.append(Wrong(flow, through, ended, why))
        return found

    def _ends(self, asked: Sequence[tuple[Flow, str]], within_s: float) -> list[str]:
        by_node: dict[str, list[int]] = defaultdict(list)
        begun = []
        for index, (flow, through) in enumerate(asked):
            node, netns = self._origin(flow.source)
            by_node[node].append(index)
            begun.append((netns, str(flow.source), flow.protocol, through, flow.port))
        calls = [
            (self.sockets[node], "ask", {"flows": [begun[index] for index in which], "within_s": within_s})
            for node, which in by_node.items()
        ]
        ends = [""] * len(asked)
        for which, answered in zip(by_node.values(), nodes.together(calls), strict=True):
            for index, end in zip(which, answered, strict=True):
                ends[index] = end
        return ends

    def _through(self, flow: Flow) -> str:
        """The address to ask: the destination's own, or its service's."""
        service = self.services.get(flow.destination)
        return service if service and chance(self.rng, 40) else str(flow.destination)

    def _origin(self, source: Address) -> tuple[str, str]:
        """The node and the network namespace that an address is in."""
        pod = pod_at(self.world, source)
        if pod is not None:
            return pod["spec"]["nodeName"], self._netns(pod)
        node = next(one for one in self.world.nodes if source in node_addresses(one))
        return _name(node), nodes.NODE_ITSELF

    def _netns(self, pod: Object) -> str:
        if pod["spec"].get("hostNetwork"):
            return nodes.NODE_ITSELF
        key = pod["metadata"]["namespace"], _name(pod)
        if key not in self._known:
            machines = {node.name: node for node in self.cluster.site.nodes}
            self._known.update(nodes.namespaces(machines[pod["spec"]["nodeName"]]))
        return self._known[key]

    def _become(self, after: World) -> None:
        happened = events(self.world, after)
        for verb, kind in (("replace", "MODIFIED"), ("create", "ADDED")):
            changed = [event.object for event in happened if event.type == kind]
            for one in changed:
                if not _is_policy(one):
                    self._label(one)
            if policies := [one for one in changed if _is_policy(one)]:
                # not applied: that keeps the policyTypes that an earlier specification implied
                self._kubectl(verb, "-f", "-", stdin=together(policies))
        if gone := [event.object for event in happened if event.type == "DELETED"]:
            self._kubectl("delete", "-f", "-", stdin=together(gone))
        self.world = after
        time.sleep(SETTLED_S)

    def _label(self, one: Object) -> None:
        before = next(each for each in (*self.world.namespaces, *self.world.pods) if _key(each) == _key(one))
        old, new = (each["metadata"].get("labels") or {} for each in (before, one))
        asked = [f"{key}={value}" for key, value in new.items()] + [f"{key}-" for key in old if key not in new]
        where = ["-n", one["metadata"]["namespace"]] if one["kind"] == "Pod" else []
        if asked:
            self._kubectl("label", "--overwrite", one["kind"].lower(), _name(one), *where, *asked)

    def _read(self) -> World:
        marked = ",".join(f"{key}={value}" for key, value in self.options.mark.items())
        homes = self.cluster.kubectl.get("namespaces", "-l", marked)["items"]
        names = {_name(home) for home in homes}
        pods = [pod for pod in self.cluster.kubectl.get("pods", "-A")["items"] if pod["metadata"]["namespace"] in names]
        every = self.cluster.kubectl.get("nodes")["items"]
        return World(_of("Namespace", homes), _of("Pod", pods), _of("Node", every))

    def _addresses_of_services(self) -> Mapping[Address, str]:
        found = {}
        for pod in self.world.pods:
            item = self.cluster.kubectl.get("service", _name(pod), "-n", pod["metadata"]["namespace"])
            for given in item["spec"]["clusterIPs"]:
                behind = next(each for each in _behind(pod) if each.version == address(given).version)
                found[behind] = given
        return found

    def _apply(self, items: Sequence[Manifest]) -> None:
        for attempt in range(5):
            try:
                self._kubectl("apply", "-f", "-", stdin=together(items))
            except KubectlError as error:
                # a namespace's service account comes a moment after it
                if attempt == 4 or "serviceaccount" not in str(error):
                    raise
                time.sleep(0.5)
            else:
                return

    def _kubectl(self, *arguments: str, stdin: str | None = None) -> None:
        self.cluster.kubectl.run(*arguments, stdin=stdin)


@contextmanager
def trial(cluster: Cluster, sockets: Mapping[str, Sockets], rng: Random, prefix: str) -> Iterator[Trial]:
    """A world whose namespaces begin with *prefix*, and end with the block."""
    kubectl = cluster.kubectl
    made = Trial(
        cluster, sockets, rng, Options(real=True, prefix=prefix, nodes=cluster.site.node_names, image=images.AGNHOST)
    )
    try:
        made.inhabit()
        yield made
    finally:
        gone = [*made.world.cluster_network_policies, *made.world.namespaces]
        if made.world.pods:  # the next world's may want the same ports of a node
            kubectl.run("delete", "--ignore-not-found", "-f", "-", stdin=together(made.world.pods))
        if gone:
            kubectl.run("delete", "--wait=false", "--ignore-not-found", "-f", "-", stdin=together(gone))


@contextmanager
def labelled(cluster: Cluster, rng: Random) -> Iterator[None]:
    """The nodes with labels that policies select them by, for as long as the block runs."""
    try:
        for name in cluster.site.node_names:
            chosen = [f"{key}={rng.choice(values)}" for key, values in NODE_LABELS.items() if chance(rng, 75)]
            if chosen:
                cluster.kubectl.run("label", "--overwrite", "node", name, *chosen)
        yield
    finally:
        cluster.kubectl.run("label", "node", "--all", *(f"{key}-" for key in NODE_LABELS))


def _startable(pod: Object) -> Object:
    spec = {**pod["spec"], "terminationGracePeriodSeconds": 0}
    return {**pod, "spec": spec}


def _service(pod: Object) -> Iterator[Manifest]:
    """A service of this pod alone, that does not go by its labels: they change."""
    metadata = {"namespace": pod["metadata"]["namespace"], "name": _name(pod)}
    ports = [
        {"name": f"{protocol.lower()}-{port}", "port": port, "protocol": protocol}
        for protocol in ("TCP", "UDP")
        for port in REAL_PORTS
    ]
    spec = {"ports": ports, "ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv4", "IPv6"]}
    yield {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}
    for where in _behind(pod):
        labels = {"kubernetes.io/service-name": _name(pod)}
        yield {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**metadata, "name": f"{_name(pod)}-{where.version}", "labels": labels},
            "addressType": f"IPv{where.version}",
            "ports": ports
            and [{"name": port["name"], "port": port["port"], "protocol": port["protocol"]} for port in ports],
            "endpoints": [
                {"addresses": [str(where)], "conditions": {"ready": True}, "nodeName": pod["spec"]["nodeName"]}
            ],
        }


def _behind(pod: Object) -> list[Address]:
    """Where the pod is reached: its own addresses, or its node's when it is on the node's network."""
    return list(addresses(pod)) or [address(entry["ip"]) for entry in pod["status"]["podIPs"]]


def _of(kind: str, items: Sequence[Object]) -> list[Object]:
    return [{"kind": kind, **item} for item in items]


def _name(one: Object) -> str:
    return str(one["metadata"]["name"])


def _is_policy(one: Object) -> bool:
    return str(one["kind"]).endswith("NetworkPolicy")


def _key(one: Object) -> tuple[str, str, str]:
    return one["kind"], one["metadata"].get("namespace", ""), _name(one)
