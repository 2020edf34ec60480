"""Who else works on this node's services and pods: kube-proxy, other CNI configurations, programs on our hooks.

They are reported at start and in the status, never touched: the agent cannot know who still needs them.
"""

import json
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agent.log import logger

log = logger(__name__)

PROXY = "kube-proxy"
PROXY_CHAINS = frozenset({"KUBE-SERVICES", "KUBE-NODEPORTS"})  # its iptables mode, through iptables-nft
PROXY_DEVICE = "kube-ipvs0"
OUR_PLUGIN = "sluiceway-cni"
CONFIGS = frozenset({".conf", ".conflist", ".json"})  # what libcni reads


@dataclass(frozen=True, slots=True, order=True)
class Conflict:
    """Somebody whose work may meet ours: what it is, and the way out."""

    what: str
    advice: str


def conflicts(cni_conf_dir: Path | None, *, serves: bool) -> tuple[Conflict, ...]:
    """Everybody who is on the node, hooks aside.

    *cni_conf_dir* is None where another plugin makes the pods' network; *serves*: we are the service proxy.
    """
    others = _configurations(cni_conf_dir) if cni_conf_dir is not None else ()
    return tuple(sorted({*(_proxies() if serves else ()), *others}))


def on_hooks(programs: Mapping[str, Iterable[str]]) -> tuple[Conflict, ...]:
    """Those behind programs that are not ours, given by the hook they are on (``attach.Hooks.foreign``)."""
    advice = "see `bpftool net` and `bpftool cgroup tree` for its owner"
    return tuple(Conflict(f"{program} is on {hook}", advice) for hook, found in programs.items() for program in found)


def report(found: Iterable[Conflict]) -> None:
    """Say each of them once."""
    for conflict in found:
        log.warning(conflict.what, advice=conflict.advice)


def _proxies() -> Iterator[Conflict]:
    advice = "stop kube-proxy and run `kube-proxy --cleanup`: two service proxies translate each other's packets"
    own = Path("/proc/thread-self/ns/net").readlink()
    for process in _processes(PROXY, own):
        yield Conflict(f"kube-proxy runs as process {process}", advice)
    tables, chains = _nftables()
    if PROXY in tables:
        yield Conflict("kube-proxy left its nftables table", advice)
    if PROXY_CHAINS & chains:
        yield Conflict("kube-proxy left its iptables chains", advice)
    if PROXY_DEVICE in _devices():
        yield Conflict("kube-proxy left its IPVS device", advice)


def _configurations(folder: Path) -> Iterator[Conflict]:
    if not folder.is_dir():
        return
    for path in sorted(p for p in folder.iterdir() if p.suffix in CONFIGS):
        if OUR_PLUGIN not in plugins(_text(path)):
            yield Conflict(
                f"{path} configures another CNI", "remove it: the runtime takes the first file by name for new pods"
            )


def plugins(text: str) -> frozenset[str]:
    """The plugins that a CNI configuration or list names; none where it cannot be read."""
    try:
        conf = json.loads(text)
    except ValueError:
        return frozenset()
    if not isinstance(conf, dict):
        return frozenset()
    listed = conf.get("plugins", [conf])
    return frozenset(str(p.get("type")) for p in listed if isinstance(p, dict)) if listed else frozenset()


def _processes(name: str, netns: Path) -> Iterator[int]:
    """Processes of that name in the network namespace; others on the machine are other nodes'."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with suppress(OSError):  # it ended while we looked
                if (folder / "comm").read_text().strip() == name and (folder / "ns/net").readlink() == netns:
                    yield int(folder.name)


def _nftables() -> tuple[frozenset[str], frozenset[str]]:
    """The names of this namespace's tables and chains; none where the kernel has no nftables."""
    from pyroute2.netlink.exceptions import NetlinkError  # noqa: PLC0415  imported late: it costs 0.2 s
    from pyroute2.nftables.main import NFTables  # noqa: PLC0415

    try:
        with NFTables(nfgen_family=0) as nft:
            tables = frozenset(str(t.get_attr("NFTA_TABLE_NAME")) for t in nft.get_tables())
            chains = frozenset(str(c.get_attr("NFTA_CHAIN_NAME")) for c in nft.get_chains())
            return tables, chains
    except (OSError, NetlinkError) as error:
        log.debug("nftables cannot be read", error=error)
        return frozenset(), frozenset()


def _devices() -> frozenset[str]:

    return frozenset(name for _, name in socket.if_nameindex())


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""
