"""The XDP program's links: one a device, in a mode, exchanged with the others and gone with the device."""

import errno
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.kernel.programs.attach import Hooks
from agent.kernel.programs.hooks import XDP
from agent.kernel.programs.load import Loaded
from agent.kernel.programs.xdp import XdpLinks, XdpMode, mode_of
from maps import libbpf
from maps.errors import KernelRefused
from maps.pins import PinRoot, held
from tests.agent.kernel.conftest import Tiny
from tests.agent.kernel.nets import in_new_netns
from tests.agent.kernel.programs.test_attach import SIZES

pytestmark = [pytest.mark.kernel, pytest.mark.netns]


@contextmanager
def _agent(root: Path, tiny: Tiny, version: int) -> Iterator[tuple[Hooks, XdpLinks]]:
    """As one agent's life."""
    (root / "links").mkdir(exist_ok=True)
    loaded = Loaded(tiny(version), PinRoot(root).generation("one"), SIZES)
    try:
        hooks = Hooks(root / "links", loaded.programs, tcx=True)
        yield hooks, XdpLinks(root / "links", loaded.programs, hooks.lock)
    finally:
        loaded.close()


def _veth(name: str = "u0") -> int:
    subprocess.run(["ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}p"], check=True)
    return socket.if_nametoindex(name)


def _program(root: Path, ifindex: int) -> int:
    with held(root / "links" / f"{XDP}-{ifindex}") as link:
        return libbpf.link_info(link).program_id


@pytest.mark.parametrize("mode", XdpMode)
def test_the_next_agent_finds_the_link_and_exchanges_the_program(pin_root: Path, tiny: Tiny, mode: XdpMode) -> None:
    def play() -> None:
        index = _veth()
        with _agent(pin_root, tiny, 1) as (_, links):
            assert links.attached() == {}
            links.attach(index, mode)
            assert links.attached() == {index: mode}
            before = _program(pin_root, index)
        with _agent(pin_root, tiny, 2) as (hooks, links):
            assert links.attached() == {index: mode}
            assert hooks.exchange() == 1
            assert links.attached() == {index: mode}
            assert _program(pin_root, index) != before

    in_new_netns(play)


def test_detached_it_is_on_the_device_no_more(pin_root: Path, tiny: Tiny) -> None:
    def play() -> None:
        index = _veth()
        with _agent(pin_root, tiny, 1) as (_, links):
            links.attach(index, XdpMode.NATIVE)
            links.detach(index)
            assert (links.attached(), mode_of(index)) == ({}, None)
            links.detach(index)  # again is no harm

    in_new_netns(play)


def test_a_device_that_left_takes_its_link_along(pin_root: Path, tiny: Tiny) -> None:
    def play() -> None:
        index = _veth()
        with _agent(pin_root, tiny, 1) as (_, links):
            links.attach(index, XdpMode.NATIVE)
            subprocess.run(["ip", "link", "del", "u0"], check=True)
            assert links.attached() == {}
            assert not list((pin_root / "links").iterdir())
            assert mode_of(index) is None

    in_new_netns(play)


def test_somebody_elses_program_stays(pin_root: Path, tiny: Tiny) -> None:
    def play() -> None:
        index = _veth()
        theirs = Loaded(tiny(2), PinRoot(pin_root).generation("theirs"), SIZES)
        pinned = pin_root / "xdp"  # of an object iproute2 would pin the maps, and leave them
        libbpf.pin(theirs.programs[XDP], pinned)
        theirs.close()
        subprocess.run(["ip", "link", "set", "u0", "xdpgeneric", "pinned", pinned], check=True)
        with _agent(pin_root, tiny, 1) as (_, links):
            with pytest.raises(KernelRefused) as refused:
                links.attach(index, XdpMode.GENERIC)
            assert refused.value.errno in {errno.EBUSY, errno.EEXIST}
            assert links.attached() == {}

    in_new_netns(play)


def test_a_driver_without_xdp_refuses_the_native_mode(pin_root: Path, tiny: Tiny) -> None:
    def play() -> None:
        subprocess.run(["ip", "link", "add", "d0", "type", "bridge"], check=True)
        index = socket.if_nametoindex("d0")
        with _agent(pin_root, tiny, 1) as (_, links):
            with pytest.raises(KernelRefused) as refused:
                links.attach(index, XdpMode.NATIVE)
            assert refused.value.errno == errno.EOPNOTSUPP
            links.attach(index, XdpMode.GENERIC)
            assert links.attached() == {index: XdpMode.GENERIC}

    in_new_netns(play)
