"""This node's dataplane as the reconcile loop sees it: tables to write, hooks, links and routes to keep.

Built once per start, on the generation of maps that the agent works on. Called by the loop's thread alone.
"""

import errno
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Generic, TypeVar

from agent.compile.node import Links
from agent.compile.route import Route
from agent.compile.tunnel import Tunnel
from agent.errors import AgentError
from agent.kernel.net import veth
from agent.kernel.net.routes import Routes, Way
from agent.kernel.net.sysctl import Sysctls
from agent.kernel.net.tunnel import TunnelDevice
from agent.kernel.programs.attach import Hooks
from agent.kernel.programs.hooks import CUTTER, LOOPBACK, LOOPBACK_IFINDEX, POD, TUNNEL, TUNNEL_OUT, UPLINK
from agent.log import logger
from agent.model.attachment import Attachment
from agent.model.local import Device
from maps import abi
from maps.errors import KernelRefused, MapsError
from maps.registry import open_table

log = logger(__name__)

T = TypeVar("T")
Attach = Callable[[int, tuple[str, ...]], None]


def open_tables(kind: type[T], folder: Path) -> T:
    """The tables that a dataclass names by its fields, on the maps pinned in *folder*."""
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]  # a dataclass, as the docstring says
    return kind(**{name: open_table(abi.MAPS[name], folder) for name in names})


class Dataplane(Generic[T]):
    """``reconcile.kernel.Kernel``, for real; *tables* are those that the loop asks for."""

    def __init__(  # noqa: PLR0913  each part of the kernel that it keeps
        self,
        tables: T,
        hooks: Hooks,
        routes: Routes,
        tunnel: TunnelDevice,
        sysctls: Sysctls,
        *,
        socket_lb: bool = True,
    ) -> None:
        """Without *socket_lb* the node's own connections to services are translated packet by packet."""
        self._tables = tables
        self._socket_lb = socket_lb
        self._hooks = hooks
        self._routes = routes
        self._tunnel = tunnel
        self._links = Links()
        self._sysctls = sysctls

    @property
    def tables(self) -> T:
        """The maps of the generation in use."""
        return self._tables

    def sync_pods(self, pods: Mapping[int, str]) -> None:
        """Have the pod programs on these devices; they stay there until the device goes.

        Raises:
            AgentError: some devices could not be served; the others are.
        """
        self._each(self._hooks.guard, POD, pods)

    def settle_pod(self, ifindex: int) -> None:
        """Have a pod's programs where they cost its packets least; takes tens of milliseconds.

        Raises:
            AgentError: the kernel refused.
        """
        self._each(self._hooks.settle, POD, {ifindex: f"device {ifindex}"})

    def forget_pods(self) -> None:
        """Remove what is kept of devices that left."""
        self._hooks.sweep()

    def mend_pods(self, attachments: tuple[Attachment, ...]) -> None:
        """Have the node's side of each pod's wire as ADD laid it: link, routes, neighbours."""
        veth.repair(attachments)

    def resize_pods(self, attachments: tuple[Attachment, ...], mtu: int) -> None:
        """Have this MTU on both ends of each pod's wire.

        Raises:
            AgentError: some could not be changed; the others are.
        """
        veth.resize(attachments, mtu)

    def sync_uplinks(self, devices: tuple[Device, ...]) -> None:
        """Have the uplink programs on exactly these devices, and the sysctls they need.

        Raises:
            AgentError: some devices could not be served; the others are.
        """
        for device in devices:
            self._sysctls.uplink(device.name)
        self._sync(UPLINK, {d.ifindex: d.name for d in devices})
        if not self._socket_lb:
            self._sysctls.loopback()
            self._hooks.attach(LOOPBACK_IFINDEX, LOOPBACK)
        elif LOOPBACK_IFINDEX in self._hooks.attached(LOOPBACK):
            self._hooks.detach(LOOPBACK_IFINDEX, LOOPBACK)

    def sync_tunnel(self, tunnel: Tunnel | None) -> Links:
        """Have exactly this device that encapsulates, its programs on it; its ifindexes, 0 for none.

        Raises:
            AgentError: the kernel refused, or its name is taken.
        """
        if tunnel is None:
            self._tunnel.remove()
            self._links = Links()
        else:
            self._links = self._tunnel.sync(tunnel)
            self._hooks.attach(self._links.tunnel, TUNNEL_OUT if self._links.cutter else TUNNEL)
            if self._links.cutter:
                self._hooks.attach(self._links.tunnel, CUTTER)
        return self._links

    def sync_routes(self, routes: tuple[Route, ...]) -> None:
        """Have exactly these routes to other nodes' pods.

        Raises:
            AgentError: the kernel refused some; the others are there.
        """
        refused = self._routes.sync({route.destination: self._way(route) for route in routes})
        if refused:
            raise AgentError("routes refused: " + "; ".join(f"{d}: {why}" for d, why in refused.items()))

    def _way(self, route: Route) -> Way:
        return Way(route.gateway) if route.gateway else Way(None, self._links.tunnel, route.source)

    def _sync(self, programs: tuple[str, ...], wanted: Mapping[int, str]) -> None:
        there = self._hooks.attached(programs)
        for ifindex in there - wanted.keys():
            self._hooks.detach(ifindex, programs)
        self._each(self._hooks.attach, programs, {i: name for i, name in wanted.items() if i not in there})

    def _each(self, attach: Attach, programs: tuple[str, ...], devices: Mapping[int, str]) -> None:
        failed = [f"{devices[i]}: {e}" for i, e in _refused(attach, programs, sorted(devices))]
        if failed:
            raise AgentError("programs not attached: " + "; ".join(failed))


def _refused(attach: Attach, programs: tuple[str, ...], devices: Iterable[int]) -> Iterable[tuple[int, MapsError]]:
    for ifindex in devices:
        try:
            attach(ifindex, programs)
        except KernelRefused as error:
            # a device that left, as with a pod that died before its DEL, must not stand in the way of the others
            if error.errno == errno.ENODEV:
                log.warning("device is gone, nothing to attach to", device=ifindex)
            else:
                yield ifindex, error
