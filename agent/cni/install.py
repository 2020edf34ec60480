"""The CNI plugin and its configuration, put where the container runtime looks for them, and taken away again.

The conflist is what makes a node Ready: it is written last, when the agent can serve, and removed first. Both
files appear by rename, so a runtime never executes or reads half of one.
"""

from pathlib import Path

import msgspec

from agent.cni.capabilities import CAPABILITIES
from agent.cni.request import VERSIONS
from agent.log import logger
from agent.pods.files import place, remove

log = logger(__name__)

PLUGIN = "sluiceway-cni"
CONFLIST = "10-sluiceway.conflist"
NETWORK = "sluiceway"


def conflist(socket: Path) -> bytes:
    """The network configuration list; *socket* is where the plugin finds the agent.

    Runtimes since libcni 1.2 take the highest version of ``cniVersions`` that they know, and with 1.1.0 ask for
    STATUS and GC; older ones read ``cniVersion`` alone.
    """
    plugin = {"type": PLUGIN, "capabilities": dict.fromkeys(CAPABILITIES, True), "socket": str(socket)}
    lists = {"cniVersion": "1.0.0", "cniVersions": VERSIONS, "name": NETWORK, "plugins": [plugin]}
    return msgspec.json.format(msgspec.json.encode(lists)) + b"\n"


def install(shim: Path, bin_dir: Path, conf_dir: Path, socket: Path) -> None:
    """Put plugin and conflist in place; what is there already as it should be stays untouched.

    Raises:
        OSError: *shim* is missing, or a directory cannot be written.
    """
    _put(bin_dir / PLUGIN, shim.read_bytes(), 0o755)
    _put(conf_dir / CONFLIST, conflist(socket), 0o600)


def uninstall(bin_dir: Path, conf_dir: Path) -> tuple[Path, ...]:
    """Remove both; the paths that were there."""
    found = tuple(path for path in (conf_dir / CONFLIST, bin_dir / PLUGIN) if path.exists())
    for path in found:
        remove(path)
    return found


def _put(path: Path, content: bytes, mode: int) -> None:
    if _is_in_place(path, content, mode):
        return
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    # runtimes read *.conf, *.conflist and *.json
    place(path, content, draft=path.with_name(f".{path.name}.new"), mode=mode)
    log.info("CNI file installed", path=path)


def _is_in_place(path: Path, content: bytes, mode: int) -> bool:
    try:
        return path.read_bytes() == content and path.stat().st_mode & 0o777 == mode
    except FileNotFoundError:
        return False
