"""What an agent with other folders left on this node, which this one would neither find nor take away.

Two datapaths on one hook translate each other's packets, and pods whose attachments nobody knows pass nothing. So an
agent that is told another `--pin-root` or `--state-dir` than the one before says so, and changes nothing.
"""

import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from agent.errors import ConfigError
from agent.kernel.programs.clsact import name_of
from agent.kernel.programs.hooks import DEVICE_HOOKS
from maps import libbpf
from maps.errors import KernelRefused
from maps.libbpf import AttachType
from maps.pins import PinRoot, held

_LOOKS, _FREED_S = 10, 0.1
_TCX = (AttachType.TCX_INGRESS, AttachType.TCX_EGRESS)


def check_state_dir(pins: PinRoot, state_dir: Path) -> None:
    """Refuse another folder of records than that of whoever made the pins.

    Raises:
        ConfigError: it is another.
    """
    there = pins.state_dir()
    if there is not None and there != state_dir:
        raise ConfigError(
            f"--state-dir: {state_dir} is not where the agent that made the pins in {pins.path} has what it knows of"
            f" pods and sysctls; give --state-dir {there}, or run sluiceway-agent cleanup with that first"
        )


def check_programs(pins: PinRoot) -> None:
    """Refuse a node whose devices have programs of an agent with other pins; where there is tcx, which tells.

    Raises:
        ConfigError: there are some.
    """
    found = next(_others(_pinned(pins)), None)
    for _ in range(_LOOKS):
        if found is None:
            return
        time.sleep(_FREED_S)  # a link whose pin was removed lives until the kernel's worker has freed it
        found = next(_others(_pinned(pins)), None)
    if found is None:
        return
    program, device = found
    elsewhere = next((path for path in _roots(pins.path) if path != pins.path), None)
    way_out = f"--pin-root {elsewhere}" if elsewhere else "the --pin-root that it had"
    raise ConfigError(
        f"--pin-root: {pins.path} has no link of {program} on {device}, which an agent with other pins left there; give"
        f" {way_out}, or run sluiceway-agent cleanup with that first"
    )


def _pinned(pins: PinRoot) -> frozenset[int]:
    """The ids of the links that are pinned."""
    found = set()
    for path in pins.links.iterdir() if pins.links.is_dir() else ():
        with held(path) as link:
            found.add(libbpf.link_info(link).id)
    return frozenset(found)


def _others(ours: frozenset[int]) -> Iterator[tuple[str, str]]:
    """Programs by our names that hang on links of others, each with its device."""
    for ifindex, device in socket.if_nameindex():
        with suppress(KernelRefused):  # the device left, or is of a kind that has no such hook
            for kind in _TCX:
                for program, link in libbpf.attached(ifindex, kind):
                    if link not in ours and (name := name_of(program)) in DEVICE_HOOKS:
                        yield name, device


def _roots(near: Path) -> Iterator[Path]:
    """Folders beside this one, or where agents have theirs by default, that have an agent's pins."""
    for folder in (near.parent, Path("/sys/fs/bpf")):
        with suppress(OSError):
            yield from sorted(path for path in folder.iterdir() if PinRoot(path).current() is not None)
