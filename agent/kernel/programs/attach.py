"""Programs on their hooks: made once per device, kept by pins, and only ever exchanged in place afterwards.

Where tcx is (Linux 6.6) every hook holds a link pinned under ``<pin root>/links/<program>-<ifindex>``; elsewhere
programs go on by clsact, which the device itself keeps. Socket programs are cgroup links, pinned by their name. A
device that left takes its hook along; the next :meth:`Hooks.cleanup_pins` removes its pin. Everything happens in the
calling thread's network namespace, the node's.

A tcx link costs a grace period of RCU, some 15 ms, for which all other work on the node's devices waits. So a pod's
programs go on by clsact everywhere (:meth:`Hooks.guards`), and move to tcx when no pod waits
(:meth:`Hooks.move_to_tcx`).
While both are there each packet meets the program once: tcx comes first, and what a pod's program answers is final.
"""

import errno
import os
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from threading import RLock
from typing import Concatenate, ParamSpec, TypeVar

from agent.kernel.programs.clsact import clsact, filters, holder, name_of, remove_empty_clsact
from agent.kernel.programs.hooks import DEVICE_HOOKS, SOCKET_HOOKS, XDP
from agent.log import logger
from agent.netlink.requests import Request, add_clsact, set_filter
from maps import libbpf
from maps.errors import KernelRefused
from maps.libbpf import AttachType, LinkInfo
from maps.pins import held

log = logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


def _alone(method: Callable[Concatenate["Hooks", P], T]) -> Callable[Concatenate["Hooks", P], T]:
    """One thread at a time: the loop attaches, while main moves links to a new generation."""

    @wraps(method)
    def locked(self: "Hooks", /, *args: P.args, **named: P.kwargs) -> T:
        with self.lock:
            return method(self, *args, **named)

    return locked


class Hooks:
    """The hooks of one node: *links* is the folder of pins, *programs* the loaded programs' fds by name."""

    def __init__(self, links: Path, programs: Mapping[str, int], *, tcx: bool) -> None:
        self._links = links
        self._programs = programs
        self._tcx = tcx
        self.lock = RLock()

    @_alone
    def exchange(self) -> int:
        """Put these programs in place of those that an earlier agent left on its hooks; how many there were.

        Each exchange is atomic: every packet meets the old or the new program.
        """
        self.cleanup_pins()
        pinned = list(self._pinned())
        for path in pinned:
            with held(path) as link:
                libbpf.link_update(link, self._programs[_program(path)])
        return len(pinned) + self._exchange_clsact()

    @_alone
    def guard(self, ifindex: int, names: tuple[str, ...]) -> None:
        """Have these programs on a device, this way or that; what is there already stays. Raises as :meth:`attach`."""
        self.attach(ifindex, tuple(name for name in names if not self._has(ifindex, name)))

    def guards(self, ifindex: int, names: tuple[str, ...]) -> tuple[Request, ...]:
        """What puts these programs on a device that is not up yet, by clsact, in microseconds; a pod waits for it.

        On one that is up, clsact costs packets: while the kernel brings it on or takes it off, what the stack
        gives the device is lost (net/sched/sch_api.c, qdisc_graft()).
        """
        filters = (set_filter(ifindex, self._programs[n], n, ingress=DEVICE_HOOKS[n][1]) for n in names)
        return (add_clsact(ifindex), *filters)

    @_alone
    def move_to_tcx(self, ifindex: int, names: tuple[str, ...]) -> None:
        """Have these programs on tcx and no more on clsact, where there is tcx; they are on the device all the while.

        An empty clsact stays, to which no packet comes; to take it off would cost some (:meth:`guards`).
        Takes tens of milliseconds. Raises as :meth:`attach`.
        """
        if not self._tcx:
            return
        for name in names:
            kind, is_ingress = DEVICE_HOOKS[name]
            self._link(self._pin(ifindex, name), ifindex, kind)
            if self._has_filter(ifindex, name):
                libbpf.tc_detach(ifindex, is_ingress)

    @_alone
    def has(self, ifindex: int, names: tuple[str, ...]) -> bool:
        """Whether a device has all of these programs, this way or that."""
        return all(self._has(ifindex, name) for name in names)

    @_alone
    def cleanup_pins(self) -> None:
        """Remove the pins of devices that left."""
        for path, link in self._infos():
            if _is_on_device(path) and link.ifindex == 0:
                path.unlink()
                log.debug("stale link removed", link=path.name)

    @_alone
    def attach(self, ifindex: int, names: tuple[str, ...]) -> None:
        """Have these programs on a device; what is there already stays.

        Raises:
            KernelRefused: the device left (ENODEV), or the kernel refused.
        """
        for name in names:
            kind, is_ingress = DEVICE_HOOKS[name]
            if self._tcx:
                self._link(self._pin(ifindex, name), ifindex, kind)
            else:
                self._attach_clsact(ifindex, name, ingress=is_ingress)

    @_alone
    def detach(self, ifindex: int, names: tuple[str, ...]) -> None:
        """Take these programs off a device; a device that left had none."""
        for name in names:
            _remove(self._pin(ifindex, name))
            if not self._tcx:
                libbpf.tc_detach(ifindex, ingress=DEVICE_HOOKS[name][1])
        if not self._tcx:
            remove_empty_clsact(ifindex)

    @_alone
    def attached(self, names: tuple[str, ...]) -> frozenset[int]:
        """The devices that :meth:`attach` gave all of these programs, by ifindex; pins of those that left go first."""
        self.cleanup_pins()
        found = set(clsact(DEVICE_HOOKS) if not self._tcx else self._linked())
        return frozenset(i for i, name in found if name in names and all((i, other) in found for other in names))

    @_alone
    def attach_sockets(self, cgroup: Path) -> None:
        """Have every socket program on *cgroup*; links to another cgroup are replaced."""
        folder = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            wanted = os.fstat(folder).st_ino  # a cgroup's id is its inode's number
            for name, kind in SOCKET_HOOKS.items():
                path = self._links / name
                if path.exists() and _cgroup_of(path) != wanted:
                    path.unlink()
                self._link(path, folder, kind)
        finally:
            os.close(folder)

    @_alone
    def detach_sockets(self) -> None:
        """Leave connections to the programs on the devices."""
        for name in SOCKET_HOOKS:
            _remove(self._links / name)

    @_alone
    def foreign(self, devices: Mapping[int, str], cgroup: Path | None) -> dict[str, tuple[str, ...]]:
        """Programs on our hooks that are not ours, described, by the hook's name; a device that left has none."""
        ours = {link.program_id for _, link in self._infos()} | {_id_of(fd) for fd in self._programs.values()}
        found: dict[str, tuple[str, ...]] = {}
        for ifindex, name in devices.items():
            with _unless_gone():
                for kind, side in ((AttachType.TCX_INGRESS, "ingress"), (AttachType.TCX_EGRESS, "egress")):
                    ids = libbpf.program_query(ifindex, kind) if self._tcx else ()
                    found[f"{name} {side}"] = (*_described(ids, ours), *filters(ifindex, side, ours))
        if cgroup is not None:
            folder = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            for name, kind in SOCKET_HOOKS.items():
                found[f"{cgroup} {name}"] = _described(libbpf.program_query(folder, kind), ours)
            os.close(folder)
        return {hook: programs for hook, programs in found.items() if programs}

    def _link(self, path: Path, target: int, kind: AttachType) -> None:
        if path.exists() and not (_is_on_device(path) and self._is_stale(path, target)):
            return
        link = libbpf.link_create(self._programs[_program(path)], target, kind)
        try:
            libbpf.pin(link, path)  # killed before this, the kernel drops the link and the next start makes it
        finally:
            os.close(link)

    def _has(self, ifindex: int, name: str) -> bool:
        pin = self._pin(ifindex, name)
        return (pin.exists() and not self._is_stale(pin, ifindex)) or self._has_filter(ifindex, name)

    def _has_filter(self, ifindex: int, name: str) -> bool:
        """Whether a filter of ours holds the program, be it that of an earlier agent."""
        return holder(ifindex, ingress=DEVICE_HOOKS[name][1]) == name

    def _is_stale(self, pin: Path, ifindex: int) -> bool:
        """Whether the pin is of a device that left, whose number another one has now; it is removed then."""
        with held(pin) as link:
            is_stale = libbpf.link_info(link).ifindex != ifindex
        if is_stale:
            pin.unlink()
        return is_stale

    def _pin(self, ifindex: int, name: str) -> Path:
        return self._links / f"{name}-{ifindex}"

    def _pinned(self) -> Iterator[Path]:
        """The pins of programs we know, in order."""
        for path in sorted(self._links.iterdir()):
            if _program(path) in {*DEVICE_HOOKS, XDP} or path.name in SOCKET_HOOKS:
                yield path

    def _infos(self) -> Iterator[tuple[Path, LinkInfo]]:
        for path in self._pinned():
            with held(path) as link:
                yield path, libbpf.link_info(link)

    def _linked(self) -> Iterator[tuple[int, str]]:
        for path in self._pinned():
            if _is_on_device(path):
                program, _, ifindex = path.name.rpartition("-")
                yield int(ifindex), program

    def _attach_clsact(self, ifindex: int, name: str, *, ingress: bool) -> None:
        theirs = holder(ifindex, ingress=ingress)
        if theirs is not None and theirs not in DEVICE_HOOKS:
            doing = f"attach {name} to device {ifindex}: its tc filter 1 of priority 1 is {theirs}, somebody else's"
            raise KernelRefused(doing, errno.EBUSY)
        libbpf.tc_attach(ifindex, ingress=ingress, program_fd=self._programs[name])

    def _exchange_clsact(self) -> int:
        found = list(clsact(DEVICE_HOOKS))
        for ifindex, name in found:
            libbpf.tc_attach(ifindex, ingress=DEVICE_HOOKS[name][1], program_fd=self._programs[name])
        return len(found)


@contextmanager
def _unless_gone() -> Iterator[None]:
    """A device that left meanwhile is no fault of the block's."""
    try:
        yield
    except KernelRefused as refused:
        if refused.errno not in {errno.ENODEV, errno.ENXIO}:
            raise


def _described(ids: Iterable[int], ours: Container[int]) -> tuple[str, ...]:
    return tuple(f"program {i} ({name_of(i) or 'without a name'})" for i in ids if i not in ours)


def _id_of(program: int) -> int:
    return libbpf.program_info(program).id


def _cgroup_of(path: Path) -> int:
    with held(path) as link:
        return libbpf.link_info(link).cgroup_id


def _program(path: Path) -> str:
    return path.name.partition("-")[0]


def _remove(path: Path) -> None:
    """Detach at once: a link that only loses its pin lives on for a moment. Killed in between, it is found detached."""
    if path.exists():
        with held(path) as link:
            libbpf.link_detach(link)
        path.unlink()


def _is_on_device(path: Path) -> bool:
    return "-" in path.name
