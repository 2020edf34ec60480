"""The CNI plugin and its configuration, put where the container runtime looks for them, and taken away again.

The conflist is what makes a node Ready: it is written last, when the agent can serve, and removed first. Both
files appear by rename, so a runtime never executes or reads half of one.
"""

from pathlib import Path

import msgspec

from agent.cni.capabilities import CAPABILITIES
from agent.cni.request import VERSIONS
from agent.kernel.conflicts import configurations, content
from agent.log import logger
from agent.model.name import ObjectName, Problem
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


def install(shim: Path, bin_dir: Path, conf_dir: Path, socket: Path, *, is_chained: bool = False) -> None:
    """Put plugin and conflist in place; what is there already as it should be stays untouched.

    *is_chained*: the node's conflist is another plugin's, in which ours is named; there is none of our own.

    Raises:
        OSError: *shim* is missing, or a directory cannot be written.
    """
    _put(bin_dir / PLUGIN, shim.read_bytes(), 0o755)
    if not is_chained:
        _put(conf_dir / CONFLIST, conflist(socket), 0o600)
    elif (conf_dir / CONFLIST).exists():
        remove(conf_dir / CONFLIST)


class Installation:
    """Plugin and conflist, put in place and kept there: somebody who removes or changes one cuts pods off the node."""

    def __init__(self, shim: Path, bin_dir: Path, conf_dir: Path, socket: Path, *, is_chained: bool = False) -> None:
        """As :func:`install`."""
        self._shim, self._socket, self._is_chained = shim, socket, is_chained
        self._bin_dir, self._conf_dir = bin_dir, conf_dir
        self._files = (bin_dir / PLUGIN,) if is_chained else (bin_dir / PLUGIN, conf_dir / CONFLIST)
        self._seen: tuple[tuple[int, ...] | None, ...] = ()
        self._failed: OSError | None = None  # the last time

    def problems(self, node: str) -> tuple[Problem, ...]:
        """What keeps new pods off the *node*, as it was at the last look; from any thread."""
        if self._failed is None:
            return ()
        path, option = self._failed.filename, "--install-cni"
        for folder, name in ((self._bin_dir, "--cni-bin-dir"), (self._conf_dir, "--cni-conf-dir")):
            if path is not None and Path(path).is_relative_to(folder):
                path, option = folder, name
        text = (
            f"{path} cannot be {'read' if option == '--install-cni' else 'written'}: {self._failed.strerror}; new pods"
            " do not start, and the node is not Ready by us: give the runtime and the agent folders that can be"
            " written, or put plugin and conflist there yourself with --install-cni off"
        )
        return (Problem("Node", ObjectName("", node), option, text),)

    def keep(self) -> None:
        """Install what is not as it was installed; two looks at the disk while all is."""
        seen = tuple(map(_stamp, self._files))
        if seen == self._seen and None not in seen and self._failed is None:
            return
        try:
            install(self._shim, self._bin_dir, self._conf_dir, self._socket, is_chained=self._is_chained)
            self._failed = None
        except OSError as error:
            log.warning("CNI plugin not installed: no new pods; see --install-cni", why=error)
            self._failed = error
        self._seen = tuple(map(_stamp, self._files))


def _stamp(path: Path) -> tuple[int, ...] | None:
    """What differs when a file was changed or replaced; None when it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode


def uninstall(bin_dir: Path, conf_dir: Path) -> tuple[Path, ...]:
    """Remove both, and what is left of them half written; the paths that were there.

    The plugin stays while another configuration names it: without it that one's pods could not even be deleted.
    """
    files = conf_dir / CONFLIST, bin_dir / PLUGIN
    found = [path for path in (*files, *map(_draft, files)) if path.exists()]
    users = [path for path in configurations(conf_dir) if path.name != CONFLIST and PLUGIN.encode() in content(path)]
    if users and files[1] in found:
        found.remove(files[1])
        log.warning(
            "CNI plugin stays, as a configuration names it; take it out there, for no pod is made by it any more",
            path=files[1],
            named_in=users[0],
        )
    for path in found:
        remove(path)
    return tuple(found)


def _put(path: Path, content: bytes, mode: int) -> None:
    if _is_in_place(path, content, mode):
        return
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    place(path, content, draft=_draft(path), mode=mode)
    log.info("CNI file installed", path=path)


def _draft(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")  # runtimes read *.conf, *.conflist and *.json


def _is_in_place(path: Path, content: bytes, mode: int) -> bool:
    try:
        return path.read_bytes() == content and path.stat().st_mode & 0o777 == mode
    except FileNotFoundError:
        return False
