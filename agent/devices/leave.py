"""What is undone of the device plugin when the agent leaves: its CDI files, and sockets of one that was killed.

The folders are those that it has by default: the pod that cleans up has the node's there.
"""

from pathlib import Path

from agent.devices import cdi
from agent.devices.answers import drafts
from agent.devices.options import DeviceOptions
from agent.pods.pod_devices import SOCKET
from agent.unix_socket import answers, is_left

# as agent/devices/kubelet/registered.py has them, which comes with gRPC
SOCKETS = "device-plugins/sluiceway-*.sock"  # in the kubelet's folder


def leave(run_dir: Path, options: DeviceOptions | None = None) -> tuple[Path, ...]:
    """Take away what a device plugin left that does not run any more; the paths. One that runs keeps all it has."""
    options = options or DeviceOptions()
    own = run_dir / SOCKET
    if answers(own):
        return ()
    sockets = (path for path in options.kubelet_dir.glob(SOCKETS) if is_left(path))
    found = tuple(path for path in (own, *drafts(own), *sockets, *cdi.ours(options.cdi_dir)) if path.exists())
    for path in found:
        path.unlink(missing_ok=True)
    return found
