"""The parts of the kernel that the reconcile loop keeps: tunnel, programs on devices, routes, pods' interfaces."""

from collections.abc import Callable, Iterator, Mapping

from agent.compile.desired import Desired
from agent.compile.route import Route
from agent.compile.routed_range import Granted
from agent.compile.settings import NetworkSettings
from agent.compile.tunnel import Tunnel, tunnel_links
from agent.errors import AgentError
from agent.kernel.net.routes import Routes, Way
from agent.kernel.net.sysctl import Sysctls
from agent.kernel.net.tunnel import TunnelDevice
from agent.kernel.net.veth import VethMtu, VethRepair
from agent.kernel.programs.attach import Hooks
from agent.kernel.programs.hooks import (
    LOOPBACK,
    LOOPBACK_IFINDEX,
    POD,
    SEGMENTER,
    TUNNEL,
    TUNNEL_OUT,
    UPLINK,
)
from agent.model.address import Network
from agent.model.attachment import Attachment, AttachmentKey
from agent.model.local import Device
from agent.model.name import ObjectName
from agent.model.ports import Ports
from maps.errors import MapsError

Devices = Mapping[int, str]  # ifindex to name
Routers = Mapping[ObjectName, Granted]


class TunnelPart:
    """The device that encapsulates, with its programs."""

    name, is_before_maps, is_vital, is_watched = "tunnel", True, True, True

    def __init__(self, device: TunnelDevice, hooks: Hooks) -> None:
        self._device, self._hooks = device, hooks

    def wanted(self, desired: Desired) -> tuple[Tunnel, tuple[Device, ...]] | None:
        """The device, and the node's devices of the moment, a change of which is a reason to look again."""
        return (desired.tunnel, desired.devices) if desired.tunnel is not None else None

    def apply(self, wanted: tuple[Tunnel, tuple[Device, ...]]) -> Iterator[None]:
        """Make the device, and put its programs on it."""
        links = self._device.sync(wanted[0])
        yield
        self._hooks.attach(links.tunnel, TUNNEL_OUT if links.segmenter else TUNNEL)
        if links.segmenter:
            self._hooks.attach(links.tunnel, SEGMENTER)

    def resync(self) -> None:
        """Nothing is remembered of it."""


class TunnelRemovalPart:
    """No device that encapsulates, where none is wanted, once no record names it."""

    name, is_before_maps, is_vital, is_watched = "tunnel removal", False, False, False

    def __init__(self, device: TunnelDevice) -> None:
        self._device = device

    def wanted(self, desired: Desired) -> bool | None:
        """Whether it is to go."""
        return True if desired.synced and desired.tunnel is None else None

    def apply(self, _: bool) -> Iterator[None]:  # noqa: FBT001  what wanted() gives
        """Remove it."""
        self._device.remove()
        yield

    def resync(self) -> None:
        """Nothing is remembered of it."""


class PodProgramsPart:
    """The programs on the node's ends of pods' interfaces; they go with the device.

    ADD puts them on by clsact, in microseconds. Where there is tcx they move there when no pod has come for a while:
    that costs tens of milliseconds each, which nobody waits for. Not before all links have moved to this agent's maps:
    that of a pod would be the first, while its connections are in the old ones.
    """

    name, is_before_maps, is_vital, is_watched = "pod programs", False, True, False

    def __init__(self, hooks: Hooks, *, has_moved: Callable[[], bool]) -> None:
        """*has_moved*: whether the links that an earlier agent left have these programs, and these maps."""
        self._hooks, self._has_moved = hooks, has_moved
        self._seen: set[int] = set()  # devices with their programs
        self._moved: set[int] = set()  # those of them that have them on tcx
        self._pods: Devices = {}
        self._chained: set[int] = set()  # devices of other plugins' that attachments had

    def wanted(self, desired: Desired) -> Devices:
        """The devices of all attachments."""
        self._chained.update(one.link.ifindex for one in desired.attachments.values() if one.link.is_chained)
        mine = (one.link for one in desired.attachments.values() if not one.is_in_pod)
        return {link.ifindex: link.host_device for link in mine}

    def apply(self, wanted: Devices) -> Iterator[None]:
        """Put the programs on devices that have not been seen to have them."""
        self._pods = wanted
        self._seen.intersection_update(wanted)
        failed = []
        for ifindex in self._chained - wanted.keys():  # as DEL has done, which this may have followed too late
            self._hooks.detach(ifindex, POD)
            self._chained.discard(ifindex)
            yield
        for ifindex in sorted(wanted.keys() - self._seen):
            try:
                self._hooks.guard(ifindex, POD)
                self._seen.add(ifindex)
            except MapsError as error:
                failed.append(f"{wanted[ifindex]}: {error}")
            yield
        _raise("programs not attached", failed)

    def resync(self) -> None:
        """Ask each device anew."""
        self._seen.clear()
        self._moved.clear()

    @property
    def is_left(self) -> bool:
        """Whether some device's programs are to move, or a device has left its pins behind."""
        return self._has_moved() and self._pods.keys() != self._moved

    def piece(self) -> None:
        """Move one device's programs to tcx, or remove what devices that left have left.

        Raises:
            MapsError: the kernel refused.
        """
        if self._moved - self._pods.keys():
            self._moved.intersection_update(self._pods)
            self._hooks.cleanup_pins()
            return
        ifindex = min(self._pods.keys() - self._moved)
        self._moved.add(ifindex)
        self._hooks.move_to_tcx(ifindex, POD)


class UplinksPart:
    """The programs on the node's own devices, and the sysctls that these need.

    Where other CNI plugins make the pods' network, and another proxy serves who is outside, it is the one that checks
    who sends, and no more; without policy, none.
    """

    name, is_before_maps, is_vital, is_watched = "uplinks", False, True, True

    def __init__(
        self, hooks: Hooks, sysctls: Sysctls, programs: tuple[str, ...] = UPLINK, *, is_chained: bool = False
    ) -> None:
        self._hooks, self._sysctls, self._is_chained = hooks, sysctls, is_chained
        self._programs, self._translates = programs, programs == UPLINK
        self._others = tuple(name for name in UPLINK if name not in programs)

    def wanted(self, desired: Desired) -> tuple[Device, ...] | None:
        """The uplinks."""
        return desired.uplinks if desired.synced else None

    def apply(self, wanted: tuple[Device, ...]) -> Iterator[None]:
        """Put the programs on exactly these devices."""
        for other in self._others:  # of an agent that made the network, or served, or checked
            for ifindex in self._hooks.attached((other,)):
                self._hooks.detach(ifindex, (other,))
                yield
        there, failed = self._hooks.attached(self._programs), []
        for ifindex in there - {device.ifindex for device in wanted}:
            self._hooks.detach(ifindex, self._programs)
            yield
        for device in wanted if self._programs else ():
            if self._translates:
                self._sysctls.uplink(device.name)
            try:
                if device.ifindex not in there:
                    self._hooks.attach(device.ifindex, self._programs)
            except MapsError as error:
                failed.append(f"{device.name}: {error}")
            yield
        if self._translates:
            # what a socket of the node's left to its packets may be answered from here: connected datagrams are, always
            self._sysctls.loopback(is_chained=self._is_chained)
            self._hooks.attach(LOOPBACK_IFINDEX, LOOPBACK)
        _raise("programs not attached", failed)

    def resync(self) -> None:
        """Nothing is remembered of them."""


class ReservedPortsPart:
    """Node ports that are served here, and pods' host ports, which no socket of the node is given as its own."""

    name, is_before_maps, is_vital, is_watched = "reserved ports", False, False, False

    def __init__(self, sysctls: Sysctls, *node_ports: Ports) -> None:
        self._sysctls, self._node_ports = sysctls, node_ports
        self._asked: Mapping[AttachmentKey, Attachment] = {}  # by the latest wanted()
        self._ports: tuple[Ports, ...] = node_ports

    def wanted(self, desired: Desired) -> tuple[Ports, ...]:
        """The ranges; pods that were there before are known without the API."""
        if desired.attachments is not self._asked:
            self._asked = desired.attachments
            found = {one.host_port for pod in self._asked.values() for one in pod.host_ports}
            self._ports = (*self._node_ports, *((port, port) for port in sorted(found)))
        return self._ports

    def apply(self, wanted: tuple[Ports, ...]) -> Iterator[None]:
        """Reserve these, and no host ports of pods that are gone."""
        self._sysctls.reserve_ports(wanted)
        yield

    def resync(self) -> None:
        """Nothing is remembered of them."""


class RoutesPart:
    """The kernel's own routes to other nodes' pods, and to whoever is behind pods of this node."""

    name, is_before_maps, is_vital, is_watched = "routes", False, False, True

    def __init__(self, routes: Routes, network: NetworkSettings) -> None:
        self._routes, self._network = routes, network
        self._asked: tuple[Mapping[Network, Route], int] = {}, 0  # by the latest wanted()
        self._ways: dict[Network, Way] = {}
        self._devices: tuple[Device, ...] = ()  # by the latest apply()
        self._routers: Routers = {}

    def wanted(self, desired: Desired) -> tuple[Mapping[Network, Way], tuple[Device, ...], Routers] | None:
        """Each range's way, but those into a tunnel that is not there yet; and what gateways depend on."""
        if not desired.synced:
            return None
        tunnel = tunnel_links(self._network, desired.devices).tunnel
        routes, known_tunnel = self._asked
        if routes is not desired.routes or known_tunnel != tunnel:
            self._asked = desired.routes, tunnel
            self._ways = {
                route.destination: _way(route, tunnel) for route in desired.routes.values() if route.gateway or tunnel
            }
        return self._ways, desired.devices, desired.routed.granted

    def apply(self, wanted: tuple[Mapping[Network, Way], tuple[Device, ...], Routers]) -> Iterator[None]:
        """Make ours equal to these."""
        ways, devices, routers = wanted
        if routers != self._routers:  # the kernel takes routes by a pod away with its device, and says nothing
            self._routers = routers
            self._routes.resync()
        if devices != self._devices:
            self._devices = devices
            self._routes.retry()
        yield from self._routes.apply(ways)

    def resync(self) -> None:
        """Compare with the kernel's."""
        self._routes.resync()


def _way(route: Route, tunnel: int) -> Way:
    return Way(route.gateway, 0 if route.gateway else tunnel, route.source, is_far=route.is_far)


class VethsPart:
    """The node's side of each pod's veth pair as ADD laid it, and the MTU of both ends, which follows the uplinks."""

    name, is_before_maps, is_vital, is_watched = "pod interfaces", False, False, True

    def __init__(self) -> None:
        self._repair, self._mtu = VethRepair(), VethMtu()

    def wanted(self, desired: Desired) -> tuple[tuple[Attachment, ...], int]:
        """The attachments whose interfaces are ours, and the MTU that they are to have; 0 where that is not known."""
        every = desired.attachments.values()
        own = (one for one in every if not (one.link.is_chained or one.is_in_pod))
        return tuple(own), desired.pod_mtu

    def apply(self, wanted: tuple[tuple[Attachment, ...], int]) -> Iterator[None]:
        """Set again what is missing, and the MTU of those that have not been seen to have it."""
        attachments, mtu = wanted
        yield from self._repair.apply(attachments)
        if mtu:
            yield from self._mtu.apply(attachments, mtu)

    def resync(self) -> None:
        """Compare with the kernel."""
        self._repair.resync()
        self._mtu.resync()


def _raise(what: str, failed: list[str]) -> None:
    """Raise for what could not be done, of which there may be much: the first few are told."""
    if failed:
        more = f" and {len(failed) - 5} more" if len(failed) > 5 else ""  # noqa: PLR2004  as many as a line can have
        raise AgentError(f"{what}: {'; '.join(failed[:5])}{more}")
