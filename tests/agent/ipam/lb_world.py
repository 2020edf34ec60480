"""An API server in memory, and processes that allocate by it: each sees what it is shown, and may die at any step."""

import itertools
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast

from agent.ipam.lb_allocator import LEASE, Allocator
from agent.kube.client import Client, Refused
from agent.kube.leases import Election, Leases, Timing
from agent.kube.retry import Refusal
from agent.model.cluster import Cluster
from agent.model.name import ObjectName, Problem
from agent.model.node import Namespace, Node
from agent.threads import Threads
from agent.watch.decode.decoder import Decoder
from agent.watch.decode.kinds import ALLOCATED
from agent.watch.decode.lb_pool import LOAD_BALANCER_POOL
from agent.watch.decode.lb_service import LB_SERVICE
from agent.watch.mirror import Mirror

Object = dict[str, Any]
DECODER = Decoder("")
FIRST, SECOND = "198.51.100.1", "198.51.100.2"  # IPv4 addresses of the tests' pool


class Killed(Exception):  # noqa: N818  what happened
    """The process dies here."""


def pool(name: str = "pool", *ranges: str, **spec: object) -> Object:
    return {"metadata": {"name": name}, "spec": {"ranges": list(ranges), **spec}}


def service(name: str, namespace: str = "default", **spec: Any) -> Object:
    annotations, labels = spec.pop("annotations", {}), spec.pop("labels", {})
    wanted = {"type": "LoadBalancer", "ipFamilies": ["IPv4"], "ports": [{"port": 80}], **spec}
    about = {"namespace": namespace, "name": name, "annotations": annotations, "labels": labels}
    return {"metadata": about, "spec": wanted, "status": {"loadBalancer": {}}}


@dataclass
class Api:
    """What is stored, with revisions; the objects of a kind by namespace/name."""

    kinds: dict[str, dict[str, Object]] = field(
        default_factory=lambda: {"services": {}, "loadbalancerpools": {}, "leases": {}}
    )
    revision: int = 10
    past: list[dict[str, dict[str, Object]]] = field(default_factory=list)  # after each change

    def store(self, kind: str, found: Object) -> Object:
        """Keep it under the next revision."""
        self.revision += 1
        about = found["metadata"]
        key = f"{about.get('namespace', '')}/{about['name']}"
        old = self.kinds[kind].get(key)
        uid = old["metadata"]["uid"] if old else f"uid-{self.revision}"
        created = old["metadata"]["creationTimestamp"] if old else f"2026-01-01T00:00:{self.revision:06d}Z"
        about = {**about, "resourceVersion": str(self.revision), "uid": uid, "creationTimestamp": created}
        made: Object = json.loads(json.dumps({**found, "metadata": about}))
        self.kinds[kind] = {**self.kinds[kind], key: made}
        self.past.append(dict(self.kinds))
        return made

    def change(self, kind: str, key: str, **spec: object) -> None:
        """Change fields of its spec."""
        old = self.kinds[kind][key]
        self.store(kind, {**old, "spec": {**old["spec"], **spec}})

    def delete(self, kind: str, key: str) -> None:
        """Take it away, once nobody keeps it by a finalizer."""
        old = self.kinds[kind][key]
        if old["metadata"].get("finalizers"):
            self.store(kind, {**old, "metadata": {**old["metadata"], "deletionTimestamp": "2026-01-02T00:00:00Z"}})
            return
        self.revision += 1
        self.kinds[kind] = {name: found for name, found in self.kinds[kind].items() if name != key}
        self.past.append(dict(self.kinds))

    def answer(self, method: str, path: str, content: Any, content_type: str) -> bytes:
        """What the API server answers."""
        path = path.partition("?")[0]
        parts = path.strip("/").split("/")
        is_status = parts[-1] == "status"
        if is_status:
            parts = parts[:-1]
        if method == "POST":
            return self._made(parts, content)
        namespace = parts[parts.index("namespaces") + 1] if "namespaces" in parts else ""
        kind, key = parts[-2], f"{namespace}/{parts[-1]}"
        old = self.kinds[kind].get(key)
        if old is None:
            raise refused(404, path)
        if method == "GET":
            return json.dumps(old).encode()
        wanted = content.get("metadata", {})
        if any(old["metadata"][name] != wanted[name] for name in ("resourceVersion", "uid") if name in wanted):
            raise refused(409, path)
        if method == "PUT":
            return json.dumps(self.store(kind, content)).encode()
        assert method == "PATCH"
        assert is_status, "only the status may be written"
        made = _patched(old, content, content_type)
        if made["metadata"].get("deletionTimestamp") and not made["metadata"]["finalizers"]:
            self.kinds[kind] = {**self.kinds[kind], key: made}
            self.delete(kind, key)
            return json.dumps(made).encode()
        return json.dumps(self.store(kind, made)).encode()

    def _made(self, parts: list[str], content: Object) -> bytes:
        key = f"{content['metadata'].get('namespace', '')}/{content['metadata']['name']}"
        if key in self.kinds[parts[-1]]:
            raise refused(409, key)
        return json.dumps(self.store(parts[-1], content)).encode()

    def held(self) -> dict[str, list[str]]:
        """The addresses in Services' status."""
        return {
            key: [one["ip"] for one in found["status"]["loadBalancer"].get("ingress", []) if "ip" in one]
            for key, found in self.kinds["services"].items()
        }


def _patched(old: Object, content: Object, content_type: str) -> Object:
    """Status and finalizers alone, merged as the two kinds of patch say."""
    about = content.get("metadata", {})
    kept = dict.fromkeys(old["metadata"].get("finalizers", ())) | dict.fromkeys(about.get("finalizers", ()))
    removed = about.get("$deleteFromPrimitiveList/finalizers", ())
    metadata = {**old["metadata"], "finalizers": [one for one in kept if one not in removed]}
    status = dict(old.get("status") or {})
    for name, value in content["status"].items():
        if name == "conditions" and content_type.startswith("application/strategic"):
            conditions = {one["type"]: one for one in status.get("conditions", [])}
            for one in value:
                conditions.pop(one["type"], None)
                if one.get("$patch") != "delete":
                    conditions[one["type"]] = one
            status[name] = list(conditions.values())
        else:
            assert content_type.startswith(("application/strategic", "application/merge"))
            status[name] = value
    return {**old, "metadata": metadata, "status": status}


def refused(code: int, what: str) -> Refused:
    return Refused(what, Refusal(code))


@dataclass
class World:
    """The API server, a clock, and requests that are still under way."""

    api: Api = field(default_factory=Api)
    now: float = 0.0
    late: list[tuple[float, tuple[str, str, Any, str]]] = field(default_factory=list)
    nodes: dict[str, Node] = field(default_factory=dict)
    names: "itertools.count[int]" = field(default_factory=itertools.count)

    def process(self, **more: Any) -> "Process":
        """One more process."""
        return Process(self, f"n{next(self.names)}", **more)

    def pass_time(self, seconds: float) -> None:
        """Time goes on, and what was under way arrives."""
        self.now += seconds
        for due, request in list(self.late):
            if due <= self.now:
                self.late.remove((due, request))
                self._arrive(request)

    def _arrive(self, request: tuple[str, str, Any, str]) -> None:
        with suppress(Refused):
            self.api.answer(*request)


class Process:
    """One allocator: what it has been shown, and what happens to its requests."""

    def __init__(self, world: World, name: str, timing: Timing | None = None) -> None:
        self.world, self.name = world, name
        self.epoch = 1000.0 * (len(name) + sum(name.encode()) % 97)  # clocks of two machines have nothing in common
        self.fault: Callable[[str, str], str] = lambda *_: ""
        self.problems: tuple[Problem, ...] = ()
        self.told: list[tuple[Problem, str]] = []
        self.sent: list[tuple[str, str]] = []
        self.watching, self.seen = False, -1
        self.mirror = Mirror(lambda cluster: self.allocator.offer(cluster), ())  # noqa: PLW0108  it is made below
        election = Election(
            Leases(cast(Client, self), 3.0),
            LEASE,
            name,
            timing,
            clock=self.clock,
            wall=lambda: 1.8e9,
        )
        self.allocator = Allocator(
            cast(Client, self),
            election,
            Threads(),
            watch=self._watch,
            report=self._report,
            on_problem=lambda problem, uid: self.told.append((problem, uid)),
            clock=self.clock,
            wall=lambda: 1.8e9,
        )
        self.election = election

    def clock(self) -> float:
        """This process's own."""
        return self.world.now + self.epoch

    def send(self, method: str, path: str, content: Any, content_type: str, timeout_s: float) -> bytes:
        """A request, and what becomes of it."""
        request = (method, path, content, content_type)
        fault = self.fault(method, path)
        if fault == "before":
            raise Killed
        if fault == "lost":
            raise OSError("no answer")
        if fault == "late":
            self.world.late.append((self.world.now + timeout_s - 0.1, request))
            raise OSError("no answer")
        answer = self.world.api.answer(*request)
        self.sent.append((method, path.partition("?")[0]))
        if fault == "after":
            raise Killed
        if fault == "unheard":
            raise OSError("no answer")
        return answer

    def _watch(self, is_needed: bool) -> None:  # noqa: FBT001  as the source has it
        self.watching, self.seen = is_needed, -1
        if is_needed and self.fault("LIST", ""):
            raise Killed  # before and after are one: nothing is stored by it
        if not is_needed:
            for kind in ALLOCATED:
                self.mirror.forget(kind)

    def _report(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems

    def see(self, unseen: int = 0) -> None:
        """What the API server has, as its watches bring it: all but the last changes, in their order.

        A first list has everything.
        """
        past = self.world.api.past
        self.seen = max(self.seen, len(past) - 1 - unseen) if self.seen >= 0 else len(past) - 1
        if self.watching:
            for kind, objects in ((LOAD_BALANCER_POOL, "loadbalancerpools"), (LB_SERVICE, "services")):
                found = past[self.seen][objects].values()
                self.mirror.replace(kind, [DECODER.decode(kind, json.dumps(one).encode()) for one in found])

    def turn(self, *, sees: bool = True) -> None:
        """A turn, and one more with what came of it."""
        self.allocator.turn()
        if sees:
            self.see()
            self.allocator.turn()
            self.see()

    def offer(self, **tables: Any) -> None:
        """More of the cluster than the watches bring."""
        cluster: Cluster = self.mirror.cluster
        self.allocator.offer(
            Cluster(lb_pools=cluster.lb_pools, lb_services=cluster.lb_services, listed=cluster.listed, **tables)
        )


def namespace(name: str, **labels: str) -> dict[str, Namespace]:
    return {name: Namespace(name, tuple(labels.items()))}


def named(text: str) -> ObjectName:
    return ObjectName("default", text)
