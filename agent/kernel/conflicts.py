"""Who else works on this node's services and pods: kube-proxy, other CNI configurations, programs on our hooks.

They are reported at start, and not touched: the agent cannot know who still needs them. Of kube-proxy it is told by
`--replace-kube-proxy` (kube_proxy/replacement.py).
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from agent.kernel.kube_proxy import alive, leftovers
from agent.log import logger

log = logger(__name__)

OUR_PLUGIN = "sluiceway-cni"
CONFIGS = (".conf", ".conflist", ".json")  # what libcni reads


@dataclass(frozen=True, slots=True, order=True)
class Conflict:
    """Somebody whose work may meet ours: what it is, and the way out."""

    what: str
    advice: str


def conflicts(cni_conf_dir: Path | None, *, serves: bool, replaces: bool = False) -> tuple[Conflict, ...]:
    """Everybody who is on the node, hooks aside.

    *cni_conf_dir* is None where another plugin makes the pods' network; *serves*: we are the service proxy;
    *replaces*: what kube-proxy left is taken away, and told by who does that.
    """
    others = _others(cni_conf_dir) if cni_conf_dir is not None else ()
    return tuple(sorted({*(_proxies() if serves and not replaces else ()), *others}))


def on_hooks(programs: Mapping[str, Iterable[str]]) -> tuple[Conflict, ...]:
    """Those behind programs that are not ours, given by the hook they are on (``attach.Hooks.foreign``)."""
    advice = "see `bpftool net` and `bpftool cgroup tree` for its owner"
    return tuple(Conflict(f"{program} is on {hook}", advice) for hook, found in programs.items() for program in found)


def report(found: Iterable[Conflict]) -> None:
    """Say each of them once."""
    for conflict in found:
        log.warning(conflict.what, advice=conflict.advice)


def _proxies() -> Iterator[Conflict]:
    advice = (
        "stop kube-proxy, and run `kube-proxy --cleanup` or the agent with --replace-kube-proxy on: two service "
        "proxies translate each other's packets"
    )
    if sign := alive.sign():
        yield Conflict(f"kube-proxy {sign}", advice)
    for kind in leftovers.look().kinds():
        yield Conflict(f"kube-proxy left its {kind}", advice)


def configurations(folder: Path) -> tuple[Path, ...]:
    """The CNI configurations that runtimes read, by name, of which new pods are made by the first."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if not entry.is_dir(follow_symlinks=False)]
    except OSError:
        return ()
    return tuple(folder / name for name in sorted(names) if name.endswith(CONFIGS))


def content(path: Path) -> bytes:
    """What is in a configuration; nothing where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _others(folder: Path) -> Iterator[Conflict]:
    for path in configurations(folder):
        if OUR_PLUGIN not in plugins(content(path)):
            yield Conflict(
                f"{path} configures another CNI", "remove it: the runtime takes the first file by name for new pods"
            )


def plugins(text: str | bytes) -> frozenset[str]:
    """The plugins that a CNI configuration or list names; none where it cannot be read."""
    try:
        conf = json.loads(text)
    except ValueError:
        return frozenset()
    if not isinstance(conf, dict):
        return frozenset()
    listed = conf.get("plugins", [conf])
    return frozenset(str(p.get("type")) for p in listed if isinstance(p, dict)) if listed else frozenset()
