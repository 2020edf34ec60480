"""What the agent needs to know of a kind of objects, declared once in the kind's own file."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from agent.model.bgp import BgpPeer
from agent.model.bgp_configuration import BgpConfiguration
from agent.model.bgp_filter import BgpFilter
from agent.model.ip_pool import IpBlock, IpPool
from agent.model.lb_pool import LbService, LoadBalancerPool
from agent.model.name import ObjectName, Problem
from agent.model.network import NetworkDefinition
from agent.model.node import Namespace, Node, Pod
from agent.model.policy import PeerPod, Policy
from agent.model.service import EndpointSlice, Service
from agent.watch.decode.shared import Shared

Value = (
    Service
    | EndpointSlice
    | Node
    | Pod
    | Namespace
    | Policy
    | PeerPod
    | LoadBalancerPool
    | LbService
    | BgpPeer
    | BgpFilter
    | BgpConfiguration
    | NetworkDefinition
    | IpPool
    | IpBlock
)
Content = bytes | msgspec.Raw


@dataclass(frozen=True, slots=True)
class Context:
    """What decoding needs beside the object."""

    node_name: str
    shared: Shared


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """A kind of objects: where the API has them, what they mean, where they stand in the Cluster."""

    name: str  # as objects say it: "Service"; of two kinds that read the same objects, the first
    path: str  # of the list of all namespaces
    table: str  # the field of model.Cluster
    decode: Callable[[Content, Context], "Decoded"]
    field_selector: str = ""  # which objects are asked for; {node} is this node's name
    label_selector: str = ""
    is_needed: bool = (
        False  # nothing can be compiled before its first list; others are watched when somebody reads them
    )
    is_namespaced: bool = True  # else the table's keys are plain names
    is_optional: bool = False  # an API server without it is as good as one that has no such objects
    is_exact: bool = False  # a list is the newest there is, for something is decided by what is not in it
    older_paths: tuple[str, ...] = ()  # asked for in turn where *path* is not there
    reads: str = ""  # how objects say it, where that is another kind's name
    unreadable: Callable[[ObjectName], "Value | None"] = lambda _: None  # what an object of a wrong shape stands for
    owner: Callable[[Any], ObjectName] | None = None  # the table has, by owner, all that belong to it, sorted by name

    @property
    def object_kind(self) -> str:
        """How its objects say it: "Service"."""
        return self.reads or self.name

    @property
    def group(self) -> str:
        """The API group, "discovery.k8s.io"; of the first that there was, "v1", it is empty."""
        return self.path.split("/")[2] if self.path.startswith("/apis/") else ""

    @property
    def resource(self) -> str:
        """What RBAC calls it: "services"."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Decoded:
    """What an object means to this node.

    Without a value it is as good as deleted: not ours, or unusable.
    """

    kind: Kind
    name: ObjectName
    value: Value | None
    problems: tuple[Problem, ...] = ()
