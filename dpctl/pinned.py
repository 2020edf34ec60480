"""The way to the maps: which pin root, which generation in it is in use, and its maps as typed tables."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from agent.options.mounts import bpffs, read_mountinfo
from dpctl.errors import Absent, Forbidden
from dpctl.format import SetLabel, set_label
from maps import abi
from maps.pins import Generation, PinRoot
from maps.registry import open_table
from maps.spec import MapSpec
from maps.table import Table

K = TypeVar("K")
V = TypeVar("V")


def find_root(given: Path | None, mountinfo: str | None = None) -> PinRoot:
    """The pin root of the command line, else the agent's default; *mountinfo* is this process's when not given.

    Raises:
        Absent: there is none.
        Forbidden: it may not be looked into.
    """
    path = given or _default(read_mountinfo() if mountinfo is None else mountinfo)
    try:
        is_there = path.is_dir()
        if is_there:
            next(path.iterdir(), None)
    except PermissionError as refused:
        raise Forbidden(f"{path} may not be read by this user; type: sudo dpctl --pin-root {path} status") from refused
    if not is_there:
        raise Absent(
            f"{path} is not there: no agent has run here, or it pins elsewhere;"
            " type: sluiceway-agent config (shows its pin-root), then dpctl --pin-root DIR status"
        )
    return PinRoot(path)


def in_use(root: PinRoot) -> Generation:
    """The generation that programs and agent work on.

    Raises:
        Absent: the agent has not come so far, or was cleaned up.
    """
    found = root.current()
    if found is None:
        raise Absent(
            f"no generation of maps is in use under {root.path}: the agent has not finished its first sync;"
            f" type: dpctl --pin-root {root.path} status"
        )
    return found


def is_ours(generation: Generation) -> bool:
    """Whether its maps have the layout that this build knows (:func:`maps.pins.generation_name`)."""
    return generation.name.partition("-")[0] == abi.LAYOUT


@contextmanager
def opened(generation: Generation, spec: MapSpec[K, V]) -> Iterator[Table[K, V]]:
    """A map of a generation, open for reading.

    Raises:
        Absent: the map is not pinned, or another build laid it out.
    """
    if not is_ours(generation):
        raise Absent(
            f"the maps of {generation.name} are laid out by another build; this one knows {abi.LAYOUT}."
            " Any layout is shown by: dpctl map dump NAME"
        )
    path = generation.map_path(spec.name)
    if not path.exists():
        raise Absent(f"{path} is not pinned; type: dpctl map list")
    table = open_table(spec, generation.maps)
    try:
        yield table
    finally:
        table.close()


def labels(generation: Generation) -> Mapping[int, SetLabel]:
    """What each backend set is made for, by its id."""
    with opened(generation, abi.BACKEND_SETS) as sets:
        return {set_id: set_label(made_for.label) for set_id, made_for in sets.items()}


def check_service(service: str, known: Mapping[int, SetLabel]) -> None:
    """Refuse a service that has no backend set: a filter by it would show nothing, for the wrong reason.

    Raises:
        Absent: there is no such service.
    """
    if not any(label.service == service for label in known.values()):
        raise Absent(f"no service {service} has reached this node's maps; type: dpctl service list")


def _default(mountinfo: str) -> Path:
    mounted = bpffs(mountinfo)
    if mounted is None:
        raise Absent("no bpffs is mounted here, so nothing can be pinned; type: mount -t bpf bpf /sys/fs/bpf")
    return mounted / "sluiceway"
