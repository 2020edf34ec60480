"""Takes back what the kernel holds of ours: programs, routes, the tunnel, maps, sysctls, and nothing else.

Pods' links are the caller's to remove first (they carry the pods' own routes away with them).
"""

from agent.config import Options
from agent.kernel.clsact import clsact, remove_empty_clsact
from agent.kernel.hooks import DEVICE_HOOKS
from agent.kernel.routes import Routes
from agent.kernel.sysctl import Sysctls
from agent.kernel.tunnel import TunnelDevice
from agent.log import logger
from maps import libbpf
from maps.pins import PinRoot

log = logger(__name__)


def cleanup(options: Options, pins: PinRoot, routes: Routes, tunnel: TunnelDevice) -> None:
    """Remove everything; *pins* is locked. Again is harmless, and finishes what was cut short."""
    for ifindex, name in tuple(clsact(frozenset(DEVICE_HOOKS))):
        libbpf.tc_detach(ifindex, DEVICE_HOOKS[name][1])
        remove_empty_clsact(ifindex)
        log.info("program taken off", program=name, device=ifindex)
    removed = routes.remove_all()
    tunnel.remove()
    pins.remove_all()
    put_back = Sysctls(options.state_dir).put_back()
    log.info("programs, maps and routes removed", routes=len(removed), sysctls=len(put_back))
