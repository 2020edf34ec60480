"""An API server of IPPools and IPBlocks in memory, and nodes that share it; each may die at any of its requests."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

from agent.compile.ip_pool import named_choice
from agent.ipam.block_claims import PATH, BlockClaims
from agent.ipam.block_keeper import BlockKeeper
from agent.ipam.pool import Addresses, Ipam
from agent.ipam.pool_addresses import PoolAddresses
from agent.kube.client import Refused
from agent.kube.retry import Refusal
from agent.model.address import Address
from agent.model.cluster import Cluster
from agent.model.ip_pool import RANGE_LABEL
from agent.model.name import Problem
from agent.threads import Threads
from agent.watch.decode.decoder import Decoder
from agent.watch.decode.ip_block import IP_BLOCK_KIND
from agent.watch.decode.ip_pool import IP_POOL_KIND
from agent.watch.decode.kind import Kind
from agent.watch.decode.namespace import NAMESPACE
from agent.watch.decode.node import NODE
from agent.watch.mirror import Mirror
from tests.agent.api_kinds import list_at


class Died(BaseException):
    """The agent's death."""


def pool(name: str, *cidrs: str, created: str = "2026-01-01T00:00:00Z", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "creationTimestamp": created}, "spec": {"cidrs": list(cidrs), **spec}}


@dataclass
class Api:
    """The objects, and what goes wrong."""

    blocks: dict[str, dict[str, Any]] = field(default_factory=dict)
    others: list[tuple[Kind, dict[str, Any]]] = field(default_factory=list)
    pods: dict[str, int] = field(default_factory=dict)  # by node
    revision: int = 0
    requests: list[tuple[str, str, str]] = field(default_factory=list)  # node, method, path
    before: Callable[[str, str], None] = lambda _method, _path: None  # may raise
    after: Callable[[str, str], None] = lambda _method, _path: None
    nodes: list["Node"] = field(default_factory=list)
    proxy: bytes = b""  # what a proxy answers who lists, as a success

    def changed(self) -> None:
        """Have all watches know."""
        for node in self.nodes:
            if not node.is_blind:
                node.look()


@dataclass
class _Client:
    """``kube.client.Client`` of one node."""

    api: Api
    node: str

    def send(self, method: str, path: str, content: Any, _type: str, _limit_s: float) -> bytes:
        self.api.requests.append((self.node, method, path))
        self.api.before(method, path)
        answer = self._done(method, path, content)
        self.api.after(method, path)
        return answer

    def _done(self, method: str, path: str, content: Any) -> bytes:
        api = self.api
        if method == "POST":
            name = content["metadata"]["name"]
            if name in api.blocks:
                raise Refused(f"{method} {path}", Refusal(409))
            api.revision += 1
            about = {**content["metadata"], "uid": f"u{api.revision}", "resourceVersion": str(api.revision)}
            api.blocks[name] = {**content, "metadata": about}
            api.changed()
            return json.dumps(api.blocks[name]).encode()
        name, wanted = path.rpartition("/")[2], content["preconditions"]
        if name not in api.blocks:
            raise Refused(f"{method} {path}", Refusal(404))
        if any(api.blocks[name]["metadata"][key] != value for key, value in wanted.items()):
            raise Refused(f"{method} {path}", Refusal(409))
        del api.blocks[name]
        api.changed()
        return b"{}"

    def get(self, path: str, query: tuple[tuple[str, str], ...], _limit_s: float) -> Any:
        self.api.requests.append((self.node, "GET", path))
        self.api.before("GET", path)
        (key, value), *_ = query
        of = urlsplit(path).path
        if of == PATH:
            assert key == "labelSelector"
            items = [one for one in self.api.blocks.values() if f"{RANGE_LABEL}={_label(one)}" == value]
        else:
            items = [{}] * self.api.pods.get(value.partition("=")[2], 0)
        self.api.after("GET", path)
        content = self.api.proxy or json.dumps(list_at(of, str(self.api.revision), items)).encode()
        return SimpleNamespace(status=200, read=lambda: content, headers={})


def _label(block: dict[str, Any]) -> str:
    return str(block["metadata"]["labels"][RANGE_LABEL])


class Node:
    """An agent's addresses, and what of them is on its disk."""

    def __init__(self, api: Api, name: str, *, cidrs: tuple[str, ...] = ()) -> None:
        self.api, self.name, self.cidrs = api, name, tuple(map(ip_network, cidrs))
        self.disk: list[Addresses] = []  # what pods have
        self.now = 0.0
        self.is_blind = False
        self.problems: tuple[Problem, ...] = ()
        api.nodes.append(self)
        self.start()

    def start(self) -> None:
        """A new agent over the same disk."""
        self.mirror = Mirror(lambda _: None, ())
        self.ipam = Ipam(lambda: self.cidrs)
        client: Any = _Client(self.api, self.name)
        self.claims = BlockClaims(
            client, self.name, self.cluster, clock=lambda: self.now, sleep=self.sleep, draw=lambda: 0.0
        )
        self.addresses = PoolAddresses(self.ipam, self.name, self.cluster, self.claims)
        self.keeper = BlockKeeper(
            self.name,
            self.cluster,
            self.addresses,
            self.claims,
            Threads(),
            report=lambda found: setattr(self, "problems", found),
            clock=lambda: self.now,
        )
        self.ipam.adopt(address for given in self.disk for address in given.all)
        self.look()

    def cluster(self) -> Cluster:
        """As the watch has it."""
        return self.mirror.cluster

    def sleep(self, seconds: float) -> None:
        """Time goes on."""
        self.now += seconds

    def look(self) -> None:
        """What the watch brings."""
        decoder = Decoder(self.name)
        for kind in (NODE, NAMESPACE, IP_POOL_KIND):
            objects = [decoder.decode(kind, json.dumps(one).encode()) for of, one in self.api.others if of is kind]
            self.mirror.replace(kind, objects)
        blocks = [decoder.decode(IP_BLOCK_KIND, json.dumps(one).encode()) for one in self.api.blocks.values()]
        self.mirror.replace(IP_BLOCK_KIND, blocks)
        self.mirror.set_local(self.mirror.cluster.local)

    def give(self, pools: str, *wanted: Address, network: str = "") -> Addresses:
        """A pod's addresses, which are on the disk when they are told."""
        choice = named_choice(self.cluster(), self.name, "default", pools, "here", is_beside=bool(network))
        given = self.addresses.reserve(choice, wanted)
        self.disk.append(given)
        return given

    def take(self, given: Addresses) -> None:
        """A pod's end."""
        self.disk.remove(given)
        self.ipam.release(given.all)

    def turn(self, after_s: float = 0.0) -> None:
        """The keeper's, later."""
        self.now += after_s
        self.keeper.turn()

    def blocks(self) -> list[str]:
        """Those that are this node's."""
        return sorted(one["spec"]["cidr"] for one in self.api.blocks.values() if one["spec"]["node"] == self.name)


def world(*objects: dict[str, Any], nodes: int = 2, **more: Any) -> tuple[Api, list[Node]]:
    """An API server with pools, and nodes."""
    api = Api()
    api.others += [(IP_POOL_KIND, one) for one in objects]
    api.others += [(NODE, {"metadata": {"name": f"n{index}"}}) for index in range(1, nodes + 1)]
    api.others += [(NAMESPACE, {"metadata": {"name": "default"}})]
    return api, [Node(api, f"n{index}", **more) for index in range(1, nodes + 1)]
