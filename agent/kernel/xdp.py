"""The part that keeps the XDP program on the uplinks that are to have it, in the mode that each can.

What the option asks is tried on the device: the kernel alone knows whether a driver takes the program as it is set up.
Where it does not tc goes on doing all of it, as it does with every packet that XDP passes on.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.compile.desired import Desired
from agent.errors import AgentError
from agent.kernel.net.vlan_offload import VlanOffload
from agent.kernel.programs.xdp import XdpLinks, XdpMode
from agent.log import logger
from agent.model.local import Device
from agent.options.choices import Xdp
from maps.errors import KernelRefused, MapsError

log = logger(__name__)

SYS = Path("/sys/class/net")
# made by the kernel, for frames of this machine's own sockets: their sums may be left to a device, and XDP cannot know
UNSUMMED_KINDS = frozenset({"veth", "tun"})
UNSUMMED_DRIVERS = frozenset({"vif"})  # Xen's, for frames of its other guests


@dataclass(frozen=True, slots=True)
class Wanted:
    """The uplinks, and whether there is a range from which nothing is to be let in."""

    uplinks: tuple[Device, ...]
    is_denying: bool
    may_attach: bool  # whether the other programs have the same maps


class XdpPart:
    """The program on the node's devices; where another proxy serves who is outside, only to deny."""

    name, is_before_maps, is_vital, is_watched = "xdp", False, False, False

    def __init__(
        self,
        links: XdpLinks,
        vlans: VlanOffload,
        option: Xdp,
        *,
        has_moved: Callable[[], bool],
        serves: bool = True,
    ) -> None:
        """*has_moved*: whether the links that an earlier agent left have these programs, and these maps."""
        self._links, self._vlans, self._option, self._serves = links, vlans, option, serves
        self._has_moved = has_moved
        self._refused: dict[tuple[int, int, XdpMode], str] = {}  # by device, its MTU and the mode: why

    def wanted(self, desired: Desired) -> Wanted | None:
        """The devices that are to have it."""
        if not desired.synced:
            return None
        is_denying = bool(desired.source.denied.keys)
        uplinks = desired.uplinks if self._serves or is_denying else ()
        return Wanted(uplinks, is_denying, self._has_moved())

    def apply(self, wanted: Wanted) -> Iterator[None]:
        """Put the program on exactly these devices, where they can have it."""
        there, names = self._links.attached(), {device.ifindex: device.name for device in wanted.uplinks}
        for ifindex in there.keys() - names.keys():
            self._detach(ifindex, "")
            yield
        bare: list[str] = []
        failed: list[str] = []
        for device in wanted.uplinks:
            modes = allowed(self._option, device, driver(device.name))
            mode = there.get(device.ifindex)
            if mode not in modes:
                if mode is not None:
                    self._detach(device.ifindex, device.name)
                mode = self._attach(device, modes, failed) if wanted.may_attach else None
                yield
            else:
                self._vlans.switch_off(device.name)  # whoever may have switched it on since
            if mode is None:
                bare.append(device.name)
        if failed and self._option is not Xdp.AUTO:
            raise AgentError(f"XDP not attached, so that tc does its work: {'; '.join(failed)}")
        if bare and wanted.is_denying and wanted.may_attach:
            raise AgentError(f"what --xdp-deny-cidrs-file denies is let in by {', '.join(bare)}: give --xdp generic")

    def resync(self) -> None:
        """What is attached is asked of the kernel each time; what was refused may be asked again."""
        if self._option is not Xdp.AUTO:  # there it may cost a driver's reset each time, and nobody waits for it
            self._refused.clear()

    def _attach(self, device: Device, modes: tuple[XdpMode, ...], failed: list[str]) -> XdpMode | None:
        """Attach in the first mode that the device takes; which that was. Why it takes none goes to *failed*."""
        why = ""
        for mode in modes:
            key = (device.ifindex, device.mtu, mode)
            if key not in self._refused:
                self._refused[key] = self._try(device, mode)
                if not self._refused[key]:
                    del self._refused[key]
                    log.info("XDP attached", device=device.name, mode=mode)
                    return mode
                log.info("XDP not attached", device=device.name, mode=mode, why=self._refused[key])
            why = self._refused[key]
        if why:
            failed.append(f"{device.name}: {why}")
        return None

    def _try(self, device: Device, mode: XdpMode) -> str:
        """Attach; returns why the device does not take it, empty when it does."""
        if not self._vlans.switch_off(device.name):
            return "it takes VLAN tags off (rx-vlan-offload) and cannot be told not to"
        try:
            self._links.attach(device.ifindex, mode)
        except KernelRefused as refused:
            self._vlans.put_back(device.name)
            return str(refused)
        except MapsError:
            self._vlans.put_back(device.name)
            raise
        return ""

    def _detach(self, ifindex: int, name: str) -> None:
        self._links.detach(ifindex)
        if name:
            self._vlans.put_back(name)
        log.info("XDP detached", device=name or ifindex)


def allowed(option: Xdp, device: Device, driver: str) -> tuple[XdpMode, ...]:
    """The modes that a device may have, the best first; none: what comes in by it is tc's alone."""
    is_summed = device.kind not in UNSUMMED_KINDS and driver not in UNSUMMED_DRIVERS
    native = (XdpMode.NATIVE,) if is_summed else ()
    match option:
        case Xdp.OFF:
            return ()
        case Xdp.NATIVE:
            return (XdpMode.NATIVE,)
        case Xdp.AUTO:
            return native
        case Xdp.GENERIC:
            return (*native, XdpMode.GENERIC)


def driver(device: str, sys: Path = SYS) -> str:
    """The name of a device's driver; empty where it has no hardware."""
    try:
        return (sys / device / "device/driver").resolve(strict=True).name
    except OSError:
        return ""
