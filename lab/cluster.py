"""The standalone cluster: nodes whose agents watch a folder, into which the lab writes what a control plane would.

There is no process that controls it: each command that changes something calls `update_status` before it returns.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import yaml

from lab import admission, agents, endpoints, pods, site
from lab.addresses import pod_cidrs
from lab.errors import LabError
from lab.machine import Machine
from lab.manifests import Manifests, Object, name, namespace
from lab.pods import Port
from lab.site import Options, Site

Say = Callable[[str], None]
READY_WITHIN_S = 60.0  # an interpreter starts, on a machine that is busy
_APPLIED = ("Service", "EndpointSlice", "Namespace", "BGPPeer", "BGPFilter", "BGPConfiguration", "IPPool", "IPBlock")


@dataclass(frozen=True, slots=True)
class Cluster:
    """A standalone cluster that is up."""

    site: Site

    @property
    def manifests(self) -> Manifests:
        """The objects."""
        return Manifests(self.site.manifests)

    def apply(self, text: str) -> tuple[Object, ...]:
        """Create or replace the objects of a YAML text; as they are stored then.

        Raises:
            LabError: the text, or an object in it, is unusable; none after it was applied.
        """
        with self.site.alone():
            stored = []
            for item in _documents(text):
                stored.append(self._admitted(item))
                self.manifests.put(stored[-1])
            self.update_status()
        return tuple(stored)

    def run(  # noqa: PLR0913, as kubectl run
        self,
        called: str,
        node: str,
        command: Sequence[str],
        *,
        space: str = "default",
        labels: Mapping[str, str] | None = None,
        ports: Sequence[Port] = (),
        host_network: bool = False,
        annotations: Mapping[str, str] | None = None,
    ) -> Object:
        """Make a pod and run a command in it; returns when the pod is Ready.

        Raises:
            LabError: the name is taken, CNI refused, or the command ended or does not serve its ports.
        """
        if called in self.site.machine_names:
            raise LabError(f"{called} is the name of a machine")
        if node not in self.site.node_names:
            raise LabError(f"no node {node}: there are {', '.join(self.site.node_names)}")
        with self.site.alone():
            if self.manifests.get("Pod", space, called):
                raise LabError(f"pod {space}/{called} is there already: python -m lab delete {called}")
            machine = self.site.machine(node)
            item = pods.pod(
                space,
                called,
                node,
                command,
                labels=labels or {},
                ports=ports,
                host_network=host_network,
                annotations=annotations,
            )
            self.manifests.put(item)
            try:
                started = pods.start(machine, item)
            except LabError:
                self.manifests.remove("Pod", space, called)
                raise
            self.manifests.put(started)
            started = self._ready(machine, started)
            self.update_status()
        return started

    def delete(self, called: str, space: str = "default", *, grace_s: float = 0.5) -> None:
        """End a pod: first no new connection is sent to it, after *grace_s* its processes end.

        Raises:
            LabError: there is no such pod.
        """
        item = self.pod(called, space)
        machine = self.machine_of(item)
        with self.site.alone():
            self.manifests.put(pods.leaving(item))
            self.update_status()
        time.sleep(grace_s)
        with self.site.alone():
            pods.stop(machine, item)
            self.manifests.remove("Pod", space, called)
            self.update_status()

    def remove(self, kind: str, called: str, space: str = "default") -> None:
        """Remove an object that was applied.

        Raises:
            LabError: there is none.
        """
        if kind not in _APPLIED:
            raise LabError(f"{kind} is not one of {', '.join(_APPLIED)}")
        with self.site.alone():
            if not self.manifests.remove(kind, space, called):
                raise LabError(f"no {kind} {space}/{called}")
            self.update_status()

    def pod(self, called: str, space: str = "default") -> Object:
        """A pod by its name.

        Raises:
            LabError: there is none.
        """
        found = self.manifests.get("Pod", space, called)
        if found is None:
            there = ", ".join(name(item) for item in self.manifests.all("Pod")) or "none"
            raise LabError(f"no pod {space}/{called}; there are: {there}")
        return found

    def machine_of(self, item: Object) -> Machine:
        """The node of a pod."""
        return self.site.machine(item["spec"]["nodeName"])

    def observe(self) -> None:
        """Notice what became of the pods since."""
        with self.site.alone():
            self.update_status()

    def update_status(self) -> None:
        """Write what kubelets and the endpoints controller would: readiness of pods, and their Services' slices."""
        there = [self._observed(item) for item in self.manifests.all("Pod")]
        for item in there:
            self.manifests.put(item)
        wanted = {(namespace(i), name(i)): i for i in endpoints.slices(self.manifests.all("Service"), there)}
        for old in tuple(self.manifests.all("EndpointSlice")):
            key = (namespace(old), name(old))
            is_ours = old["metadata"].get("labels", {}).get(endpoints.MANAGED_BY) == endpoints.MANAGER
            if is_ours and key not in wanted:
                self.manifests.remove("EndpointSlice", *key)
        for item in wanted.values():
            self.manifests.put(item)

    def _observed(self, item: Object) -> Object:
        return pods.with_readiness(self.machine_of(item), item)

    def _ready(self, machine: Machine, item: Object) -> Object:
        deadline = time.monotonic() + READY_WITHIN_S
        while not pods.is_ready(item):
            output = pods.log(machine, item).read_text(errors="replace")[-500:].strip() or "it printed nothing"
            if item["status"]["phase"] == "Failed":
                raise LabError(f"pod {name(item)}: its command ended: {output}")
            if time.monotonic() > deadline:
                raise LabError(f"pod {name(item)} does not serve its ports: {output}")
            time.sleep(0.01)
            item = pods.with_readiness(machine, item)
        return item

    def _admitted(self, item: Object) -> Object:
        kind = item.get("kind")
        if kind not in _APPLIED or not item.get("metadata", {}).get("name"):
            raise LabError(f"cannot apply {kind}: name it and let it be one of {', '.join(_APPLIED)}; pods: lab run")
        if kind != "Service":
            return item
        key = (namespace(item), name(item))
        others = [other for other in self.manifests.all("Service") if (namespace(other), name(other)) != key]
        return admission.service(item, others, self.manifests.get("Service", *key))


def up(lab: str, options: Options, say: Say) -> Cluster:
    """Make the machines, write the Nodes and start the agents; returns when all are ready.

    Raises:
        LabError: a part did not come up; `site.remove` takes away what there is.
    """
    made = site.create(lab, options)
    say(f"{options.nodes} machines are up")
    if not options.router:
        site.route_to_pods(made, {name: pod_cidrs(name) for name in made.node_names})
    cluster = Cluster(made)
    for machine in made.nodes:
        cluster.manifests.put(node_object(machine))
    agents.start(made)
    with ThreadPoolExecutor() as pool:
        list(pool.map(agents.wait, made.nodes))
    say("the agents have synced")
    return cluster


def find(lab: str) -> Cluster:
    """The standalone cluster that is up.

    Raises:
        LabError: there is none, or it is a real Kubernetes.
    """
    found = site.find(lab)
    if found.options.kubernetes:
        raise LabError("this lab is a real Kubernetes: python -m lab kubectl")
    return Cluster(found)


def node_object(machine: Machine) -> Object:
    """A Node, as kubelet and controller manager would have it."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": machine.name, "labels": {"kubernetes.io/hostname": machine.name}},
        "spec": {"podCIDRs": [str(cidr) for cidr in pod_cidrs(machine.name)]},
        "status": {"addresses": [{"type": "InternalIP", "address": str(a)} for a in machine.addresses]},
    }


def _documents(text: str) -> Iterable[Object]:
    try:
        found = list(yaml.safe_load_all(text))
    except yaml.YAMLError as error:
        raise LabError(f"this is no YAML: {' '.join(str(error).split())}") from error
    for document in found:
        if isinstance(document, dict) and isinstance(document.get("items"), list):
            yield from document["items"]
        elif isinstance(document, dict):
            yield document
        elif document is not None:
            raise LabError(f"a document is no Kubernetes object but a {type(document).__name__}")
