"""What the reconcile loop needs of the kernel: tables to write, and hooks, links and routes to keep."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from agent.compile.node import Links
from agent.compile.route import Route
from agent.compile.tunnel import Tunnel
from agent.model.attachment import Attachment
from agent.model.local import Device
from maps import abi
from maps.table import TableLike


@dataclass(frozen=True, slots=True)
class Tables:
    """The maps that the agent fills, each field under its map's name."""

    services: TableLike[abi.ServiceKey, abi.Service]
    backend_sets: TableLike[int, abi.BackendSet]
    maglevs: TableLike[abi.MaglevKey, abi.Maglev]
    backends: TableLike[abi.BackendKey, abi.Backend]
    endpoints: TableLike[Any, abi.Endpoint]
    pod_netns: TableLike[int, abi.PodAddresses]
    limits: TableLike[int, abi.DeviceLimits]
    remotes: TableLike[int, abi.Remote]
    prefixes: TableLike[abi.PrefixKey, abi.Prefix]
    node: TableLike[int, abi.Node]


class Kernel(Protocol):
    """This node's dataplane; every call is idempotent, and raises when something of it could not be done."""

    @property
    def tables(self) -> Tables:
        """The maps of the generation in use."""

    def sync_pods(self, pods: Mapping[int, str]) -> None:
        """Have the pod programs on these devices: ifindex to name."""

    def settle_pod(self, ifindex: int) -> None:
        """Have a pod's programs where they cost its packets least; takes tens of milliseconds."""

    def forget_pods(self) -> None:
        """Remove what is kept of pods' devices that left."""

    def mend_pods(self, attachments: tuple[Attachment, ...]) -> None:
        """Have the node's side of each pod's wire as ADD laid it: link, routes, neighbours."""

    def resize_pods(self, attachments: tuple[Attachment, ...], mtu: int) -> None:
        """Have this MTU on both ends of each pod's wire."""

    def sync_uplinks(self, devices: tuple[Device, ...]) -> None:
        """Have the uplink programs on exactly these devices."""

    def sync_tunnel(self, tunnel: Tunnel | None) -> Links:
        """Have exactly this device that encapsulates, its programs on it; its ifindexes, 0 for none."""

    def sync_routes(self, routes: tuple[Route, ...]) -> None:
        """Have exactly these routes to other nodes' pods."""
