"""Takes back what the kernel holds of ours: programs, routes, the tunnel, maps, sysctls, and nothing else.

Pods' links are the caller's to remove first (they carry the pods' own routes away with them).
"""

from collections.abc import Iterator

from agent.errors import AgentError
from agent.kernel.device.pod_folders import PodFolders
from agent.kernel.net.routes import Routes
from agent.kernel.net.sysctl import Sysctls
from agent.kernel.net.tunnel import TunnelDevice
from agent.kernel.net.vlan_offload import VlanOffload
from agent.kernel.programs.clsact import clsact, remove_empty_clsact
from agent.kernel.programs.hooks import DEVICE_HOOKS
from agent.log import logger
from agent.options.config import Options
from maps import libbpf
from maps.pins import PinRoot

log = logger(__name__)


def cleanup(options: Options, pins: PinRoot | None, routes: Routes, tunnel: TunnelDevice) -> tuple[str, ...]:
    """Remove everything; what could not be put back. Again is harmless, and finishes what was cut short.

    *pins* is locked; None where no bpffs is mounted, so that there are none.
    """
    for ifindex, name in tuple(clsact(frozenset(DEVICE_HOOKS))):
        libbpf.tc_detach(ifindex, DEVICE_HOOKS[name][1])
        remove_empty_clsact(ifindex)
        log.info("program taken off", program=name, device=ifindex)
    removed = routes.remove_all()
    tunnel.remove()
    left = [] if pins is None else [*_without_pins(pins)]
    log.info("programs, maps and routes removed", routes=len(removed))
    for put_back in (VlanOffload(options.state_dir).put_all_back, Sysctls(options.state_dir).put_back):
        try:
            put_back()
        except AgentError as error:
            left.append(str(error))
    return tuple(left)


def _without_pins(pins: PinRoot) -> Iterator[str]:
    """Remove all pins; why some stay, if so: a pod may have kept those of its own from whoever has not every right."""
    PodFolders(pins.afxdp).remove()
    try:
        pins.remove_all()
    except OSError as error:
        yield f"pins in {pins.path} cannot be removed: {error}"
