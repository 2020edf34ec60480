"""Whose CNI configuration the container runtime takes for new pods: looked at all the time, for another may come later.

Runtimes take the first by name of the files that libcni reads, whether it is right or not; the node stays Ready by it,
and nobody else tells.

Source: containerd's go-cni, opts.go (loadFromConfDir); containernetworking/cni, libcni (ConfFiles).
"""

from pathlib import Path

import msgspec

from agent.cni.install import CONFLIST, NETWORK, PLUGIN
from agent.json_text import NOT_JSON
from agent.kernel.conflicts import configurations, content
from agent.model.name import ObjectName, Problem

OPTION = "--cni-conf-dir"
_Seen = tuple[Path, int, int, int] | None


class _Multus(msgspec.Struct):
    clusterNetwork: str = ""  # noqa: N815  a network's name, or a file as Multus sees it


class FirstConfiguration:
    """The first configuration of one node."""

    def __init__(self, folder: Path, node: str, *, is_chained: bool) -> None:
        """*is_chained*: it is another's, and our plugin is to be named in it; else ours is to be the first."""
        self._folder, self._node, self._is_chained = folder, node, is_chained
        self._seen: _Seen = None
        self._problems: tuple[Problem, ...] = ()

    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with it now; a look at the folder, and at the file once it is another than before."""
        seen = self._look()
        if seen != self._seen:
            self._seen = seen
            text = self._wrong(seen[0]) if seen is not None else ""
            self._problems = (Problem("Node", ObjectName("", self._node), OPTION, text),) if text else ()
        return self._problems

    def _look(self) -> _Seen:
        """The file, and what differs when it was changed or replaced."""
        path = next(iter(configurations(self._folder)), None)
        if path is None:
            return None
        try:
            found = path.stat()
        except OSError:  # a link that leads nowhere is the first all the same
            return path, 0, 0, 0
        return path, found.st_ino, found.st_mtime_ns, found.st_size

    def _wrong(self, path: Path) -> str:
        if names_us(path):
            return ""
        if self._is_chained:
            return (
                f"{path} is the first there by name, so the runtime makes new pods by it, without {PLUGIN}: they have "
                "neither policy nor Services of ours; name it as the last plugin of its list, or remove the file"
            )
        if path.name > CONFLIST:
            return ""
        return (
            f"{path} comes before {CONFLIST} by name, so the runtime gives new pods that one's network, and none of "
            "ours; remove it, and make the pods anew that have come since"
        )


def names_us(path: Path) -> bool:
    """Whether our plugin or network is named in a configuration, or in the one that Multus' leads to."""
    found, name = content(path), NETWORK.encode()
    if name in found:
        return True
    try:
        led_to = msgspec.json.decode(found, type=_Multus).clusterNetwork
    except NOT_JSON:
        return False
    return bool(led_to) and name in content(path.parent / Path(led_to).name)
