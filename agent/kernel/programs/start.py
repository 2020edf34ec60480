"""The kernel's part of an agent's start: checked, compiled, loaded; programs exchanged where nothing else changes."""

import os
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from agent.errors import ConfigError
from agent.kernel.net.sysctl import Sysctls
from agent.kernel.programs import build
from agent.kernel.programs.attach import Hooks
from agent.kernel.programs.elsewhere import check_programs, check_state_dir
from agent.kernel.programs.features import Features, System, features
from agent.kernel.programs.generation import Move, begin
from agent.kernel.programs.load import Loaded, OfInterface
from agent.kernel.programs.sizes import memory_bytes, sizes
from agent.kernel.programs.xdp import XdpLinks
from agent.log import logger
from agent.options.choices import Xdp
from agent.options.config import Options
from agent.options.mounts import read_mountinfo
from maps import abi, libbpf, mapio
from maps.pins import Generation, PinRoot, held

log = logger(__name__)

MEMINFO = Path("/proc/meminfo")


@dataclass(frozen=True, slots=True)
class Started:
    """What the rest of the agent works with; held until the process ends."""

    loaded: Loaded
    hooks: Hooks
    xdp: XdpLinks
    move: Move
    sysctls: Sysctls
    moved: Event  # set once all links hold these programs
    xdp_pod: Path  # the object that each interface with AF_XDP has for itself
    pins: PinRoot
    tc_vf: OfInterface | None  # and each VF in a pod; None: the kernel has no tcx


def claim(options: Options, pins: PinRoot) -> Features:
    """Lock the pins, on a node that has what the datapath needs; the programs are left alone.

    Raises:
        AgentError: a feature or a mount is missing, or an agent with other folders was here.
        MapsError: another agent has the pins, or the kernel refused.
    """
    found = features(options, System.running(options, read_mountinfo()))
    pins.lock()
    try:
        check_state_dir(pins, options.state_dir)
        if found.tcx:
            check_programs(pins)
    except ConfigError:
        pins.abandon()
        raise
    pins.tell_state_dir(options.state_dir)
    return found


def start(options: Options, pins: PinRoot, found: Features) -> Started:
    """Load the datapath onto this node's maps.

    On maps of the same layout and sizes the links get the new programs here; else the old programs go on with the old
    maps until the first sync has filled the new ones and the caller ends with ``move.finish``.

    *found* is of :func:`claim`.

    Raises:
        AgentError: there are no objects to load.
        MapsError: the kernel refused.
    """
    objects = build.objects(options.objects, options.cache_dir, build.Sources.installed(), build.compiler())
    entries = sizes(options, memory_bytes(MEMINFO.read_text()), os.cpu_count() or 1)
    move = begin(pins, entries, objects[build.FLOW_TABLE])
    moved = Event()
    used = {name: path for name, path in objects.items() if name not in build.LATER}
    loaded = Loaded(used, move.new, entries, _modes(options))
    hooks = Hooks(pins.links, loaded.programs, tcx=found.tcx)
    if move.is_needed:
        move.seed()
        log.info("other maps than before: programs move when these are filled", generation=move.new.name)
    else:
        move.finish(hooks.exchange)
        moved.set()
    loaded.start_gc()
    sysctls = Sysctls(options.state_dir)
    if options.changes_node:
        sysctls.node()
    if options.has_socket_hooks:
        hooks.attach_sockets(options.cgroup)
    else:
        hooks.detach_sockets()
        for generation in (move.new, *move.old):
            _forget_sockets(generation)
    xdp = XdpLinks(pins.links, loaded.programs, hooks.lock)
    tc_vf = loaded.of_interface(objects[build.TC_VF], entries) if found.tcx else None
    return Started(loaded, hooks, xdp, move, sysctls, moved, objects[build.XDP_POD], pins, tc_vf)


def _modes(options: Options) -> dict[str, int]:
    """What the options fix in the programs."""
    return {
        "sockets_of_node_only": not options.serves_pods_sockets,
        "xdp_is_generic": options.xdp is Xdp.GENERIC,
    }


def _forget_sockets(generation: Generation) -> None:
    """Empty what sockets were given: without hooks no program hears that one of them is closed."""
    name = abi.SOCK_PEERS.name
    if name not in generation.pinned():
        return
    with held(generation.map_path(name)) as fd:
        info = libbpf.map_info(fd)
        for keys, _ in mapio.read(fd, info.key_size, info.value_size, info.max_entries):
            mapio.delete(fd, keys, len(keys) // info.key_size)
