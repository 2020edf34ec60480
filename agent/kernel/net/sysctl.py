"""The sysctls that the datapath needs, in one table; old values are kept in a file and put back by cleanup.

Paths under /proc/sys/net follow the calling thread's network namespace, a volume's too. A value is written to the file
before it is changed, and which are to be put back before the first is, so a death in between loses nothing; what
somebody else changed since is left to them. Between two values of ours it may have either.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from agent.compile.tunnel import NAME, SEGMENTER
from agent.errors import AgentError
from agent.log import logger
from agent.model.attachment import is_veth_name
from agent.model.ports import Ports, port_ranges, written
from agent.netlink.batch import SetSysctl

log = logger(__name__)

OF_HOST = Path("/host/proc/sys/net")  # by a volume: a container's own is not to be written
PROC = OF_HOST if OF_HOST.is_dir() else Path("/proc/sys/net")
STATE = "sysctls.json"
LEAVING = ""  # in place of our value: it is being changed or put back, and ours whatever the sysctl is by now
RESERVED = "ipv4/ip_local_reserved_ports"
_FORWARDING = {"ipv4/ip_forward": "ipv4", "ipv6/conf/all/forwarding": "ipv6"}


@dataclass(frozen=True, slots=True)
class Sysctl:
    """One sysctl below /proc/sys/net; ``{device}`` stands for a device's name."""

    name: str
    value: str
    why: str
    only_from: str = ""  # changed only where it has this value; empty: always


NODE = (
    Sysctl("ipv4/ip_forward", "1", "pods' packets pass through the node"),
    Sysctl("ipv6/conf/all/forwarding", "1", "pods' packets pass through the node"),
    # The kernel takes the greater of "all" and the device's own, so a zero per device needs a zero here. Before,
    # every other device is given what "all" gave it: only ours get looser.
    Sysctl("ipv4/conf/all/rp_filter", "0", "see the devices' own"),
)
UPLINK = (
    Sysctl("ipv4/conf/{device}/rp_filter", "0", "a backend's answer carries the service's address"),
    Sysctl("ipv6/conf/{device}/accept_ra", "2", "1 means: not while forwarding", only_from="1"),
)
LOOPBACK = (
    Sysctl("ipv4/conf/lo/accept_local", "1", "a service's answer from this node to this node comes in here"),
    Sysctl("ipv4/conf/lo/route_localnet", "1", "a host port's answer to 127.0.0.1 comes in here too"),
)
LOOPBACK_CHAINED = (  # pods' devices are another plugin's, and what is set there is too
    Sysctl("ipv4/conf/lo/rp_filter", "0", "a pod's answer to the node carries the service's address"),
)
POD = (
    Sysctl("ipv4/conf/{device}/rp_filter", "0", "answers to a pod carry the service's address"),
    Sysctl("ipv4/conf/{device}/send_redirects", "0", "pods have one neighbour, the node"),
    Sysctl("ipv6/conf/{device}/accept_ra", "0", "a pod does not route for the node"),
    # set before the device is up: its link-local address must not wait for duplicate address detection
    Sysctl("ipv6/conf/{device}/accept_dad", "0", "all pods' devices have one MAC, and one link-local address"),
    Sysctl("ipv6/conf/{device}/dad_transmits", "0", "all pods' devices have one MAC, and one link-local address"),
)


BORN_WITHOUT_IPV6 = "ipv6/conf/default/disable_ipv6"
WITH_IPV6 = Sysctl("ipv6/conf/{device}/disable_ipv6", "0", "the pod's IPv6 addresses have their routes there")

TUNNEL = (
    Sysctl("ipv4/conf/{device}/rp_filter", "0", "answers to a pod carry the service's address"),
    Sysctl("ipv4/conf/{device}/accept_local", "1", "what is to be fragmented comes in here, under the node's address"),
    Sysctl("ipv4/conf/{device}/send_redirects", "0", "and leaves here again"),
    Sysctl("ipv6/conf/{device}/accept_ra", "0", "other nodes are no routers for this one"),
    Sysctl("ipv6/conf/{device}/addr_gen_mode", "1", "all nodes' tunnels have one MAC, so no address is made of it"),
)


class Sysctls:
    """The node's sysctls, and the file that remembers how they were."""

    def __init__(self, state_dir: Path, proc: Path = PROC) -> None:
        self._proc = proc
        self._file = state_dir / STATE
        self._draft = self._file.with_suffix(".new")
        self._kept: dict[str, tuple[str, str]] = self._load()
        self._uplinks: set[str] = set()  # and loopback, as far as ours

    def node(self) -> None:
        """Set what concerns the whole node, or set it again; what cannot be written is told once for each.

        Turning forwarding on changes it for every device, so their values are remembered too.
        """
        for switch, family in _FORWARDING.items():
            if _read(self._proc / switch) == "0":
                paths = (self._proc / family / "conf").glob("*/forwarding")
                devices = [p for p in paths if p.parent.name != "all"]
                self._remember({str(p.relative_to(self._proc)): "1" for p in devices})
        if _read(self._proc / "ipv6/conf/all/forwarding") == "0":
            self._keep_router_advertisements()
        self._keep_filters()
        for sysctl in NODE:
            self._set(sysctl, sysctl.name)

    def reserve_ports(self, ranges: Iterable[Ports]) -> None:
        """Keep the node's own sockets from being given a port of these; what others have reserved stays so."""
        now, kept = _read(self._proc / RESERVED), self._kept.get(RESERVED)
        if now is None:
            return
        others = kept[0] if kept and kept[1] in {now, LEAVING} else now  # without those of an earlier call
        wanted = written((*port_ranges(others), *ranges))
        self._set(Sysctl(RESERVED, wanted, "packets to a node port or host port are no socket's of the node"), RESERVED)

    def uplink(self, device: str) -> None:
        """Set what concerns a device of the node."""
        self._uplinks.add(device)
        for sysctl in UPLINK:
            self._set(sysctl, sysctl.name.format(device=device))

    def loopback(self, *, is_chained: bool = False) -> None:
        """Set what translating the node's own packets takes; *is_chained*: to pods of other plugins' networks."""
        self._uplinks.add("lo")
        for sysctl in (*LOOPBACK, *(LOOPBACK_CHAINED if is_chained else ())):
            self._set(sysctl, sysctl.name)

    def pod(self, device: str) -> tuple[SetSysctl, ...]:
        """What is to be set for the node's end of a pod's veth; it is ours and goes with the pod: nothing is kept.

        Where devices are born without IPv6 it is switched on: the pod's addresses have their route there.
        """
        wanted = self._of_pod()
        return tuple(SetSysctl(f"{self._proc}/{sysctl.name.format(device=device)}", sysctl.value) for sysctl in wanted)

    def pod_again(self, device: str) -> None:
        """Set again what somebody else has set of :meth:`pod`; a device that is gone is nobody's to repair."""
        self._set_own(self._of_pod(), device)

    def tunnel(self, device: str) -> None:
        """Set what concerns the device that encapsulates; it is ours: nothing is kept.

        What has been written, if only as it was, does not follow when somebody sets the default.
        """
        for sysctl in TUNNEL:
            _write(self._proc / sysctl.name.format(device=device), sysctl.value)

    def tunnel_again(self, device: str) -> None:
        """Set again what somebody else has set of :meth:`tunnel`."""
        self._set_own(TUNNEL, device)

    def put_back(self) -> tuple[str, ...]:
        """Give every sysctl its old value, where it still has ours; the paths that were put back.

        Raises:
            AgentError: some cannot be written; their old values stay in the file, and another call tries again.
        """
        # the node's own first: forwarding for all changes every device, whose values follow
        order = sorted(self._kept.items(), key=lambda kept: (not _is_node(kept[0]), kept[0]))
        ours = {n: old for n, (old, new) in order if new == LEAVING or _read(self._proc / n) == new}
        if ours:  # which are ours is not to be seen any more once the first is back
            self._kept = {name: (old, LEAVING) for name, old in ours.items()}
            self._save()
        done = tuple(name for name, old in ours.items() if _write(self._proc / name, old))
        # what is not there is a device's that left
        stuck = [name for name in ours if name not in done and (self._proc / name).exists()]
        if stuck:
            self._kept = {name: self._kept[name] for name in stuck}
            self._save()
            raise AgentError(
                f"sysctls cannot be put back, as {self._proc / stuck[0]}; the values of all {len(stuck)} are kept in "
                f"{self._file}"
            )
        for file in (self._draft, self._file):
            file.unlink(missing_ok=True)
        self._kept = {}
        return done

    def _of_pod(self) -> tuple[Sysctl, ...]:
        without_ipv6 = _read(self._proc / BORN_WITHOUT_IPV6) == "1"
        return (WITH_IPV6, *POD) if without_ipv6 else POD  # to switch it takes the lock of all network devices

    def _set_own(self, wanted: Iterable[Sysctl], device: str) -> None:
        """Set what a device that is ours has not any more."""
        for sysctl in wanted:
            path = self._proc / sysctl.name.format(device=device)
            now = _read(path)
            if now not in {None, sysctl.value} and _write(path, sysctl.value):
                log.warning("sysctl set again, which somebody had set", path=path, value=sysctl.value, was=now)

    def _is_ours(self, device: str) -> bool:
        return device in {"all", NAME, SEGMENTER} or device in self._uplinks or is_veth_name(device)

    def _keep_filters(self) -> None:
        """Give each device what "all" gives it until now, so that a zero there loosens nobody's but ours."""
        common = _read(self._proc / "ipv4/conf/all/rp_filter") or "0"
        if common == "0":
            return
        for path in sorted((self._proc / "ipv4/conf").glob("*/rp_filter")):
            own = _read(path)
            if not self._is_ours(path.parent.name) and own is not None and int(own) < int(common):
                name = str(path.relative_to(self._proc))
                self._set(Sysctl(name, common, "as all/rp_filter was"), name)

    def _keep_router_advertisements(self) -> None:
        """A host that learns its routes from routers goes on doing so when it begins to forward."""
        for path in sorted((self._proc / "ipv6/conf").glob("*/accept_ra")):
            device = path.parent.name
            if device not in {"all", "default", "lo"} and _read(path) == "1":
                name = str(path.relative_to(self._proc))
                self._set(Sysctl(name, "2", "1 means: not while forwarding"), name)

    def _set(self, sysctl: Sysctl, name: str) -> None:
        path = self._proc / name
        now = _read(path)
        if now is None or (sysctl.only_from and now not in {sysctl.only_from, sysctl.value}):
            return
        if now != sysctl.value:
            self._remember({name: LEAVING if now == self._ours(name) else sysctl.value})
            if not _write(path, sysctl.value):
                return
            log.info("sysctl set", name=name, value=sysctl.value, was=now, why=sysctl.why)
        if self._ours(name) == LEAVING:
            self._remember({name: sysctl.value})

    def _ours(self, name: str) -> str | None:
        """What the sysctl has while nobody else changes it; None: it was not changed."""
        kept = self._kept.get(name)
        return kept[1] if kept else None

    def _remember(self, changes: Mapping[str, str]) -> None:
        """Keep the first value ever found; the latest of ours is what cleanup expects to find."""
        for name, new in changes.items():
            old = self._kept.get(name, (_read(self._proc / name) or "", ""))[0]
            self._kept[name] = (old, new)
        self._save()

    def _save(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._draft.open("w") as file:
            json.dump(self._kept, file, indent=1, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        self._draft.rename(self._file)

    def _load(self) -> dict[str, tuple[str, str]]:
        try:
            kept = json.loads(self._file.read_text())
            return {name: (old, new) for name, (old, new) in kept.items()}
        except FileNotFoundError:
            return {}
        except (ValueError, AttributeError) as error:
            log.warning("old sysctls are unreadable, kept aside", file=self._file, error=error)
            self._file.rename(self._file.with_suffix(".bad"))
            return {}


def _is_node(name: str) -> bool:
    return any(name == sysctl.name for sysctl in NODE)


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:  # a device that left, or a kernel without IPv6
        return None


def _write(path: Path, value: str) -> bool:
    return _try(lambda: path.write_text(value or "\n"), path)  # nothing at all would not reach the kernel


def _try(write: Callable[[], object], path: Path) -> bool:
    try:
        write()
    except FileNotFoundError:
        return False
    except OSError as error:
        log.warning("sysctl cannot be set", path=path, error=error.strerror)
        return False
    return True
