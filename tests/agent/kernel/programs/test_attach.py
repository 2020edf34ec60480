"""Programs on hooks: links stay, programs are exchanged in them."""

import os
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.kernel.programs.attach import Hooks
from agent.kernel.programs.hooks import DEVICE_HOOKS, POD, SOCKET_HOOKS, UPLINK
from agent.kernel.programs.load import Loaded
from agent.netlink.socket import Socket
from maps import libbpf
from maps.errors import KernelRefused
from maps.object import Object
from maps.pins import PinRoot
from tests.agent.kernel.conftest import Tiny
from tests.agent.kernel.nets import in_new_netns

pytestmark = [pytest.mark.kernel, pytest.mark.netns]
SIZES = {"flows": 64, "flow_caches": 64, "cache_sets": 32, "shortcuts": 32, "shortcut_tags": 8}


@contextmanager
def _hooks(root: Path, objects: Mapping[str, Path], *, tcx: bool = True) -> Iterator[Hooks]:
    """As one agent's life: loaded at its start, closed at its end."""
    (root / "links").mkdir(exist_ok=True)
    loaded = Loaded(objects, PinRoot(root).generation("one"), SIZES)
    try:
        loaded.programs.pop("stranger", None)
        yield Hooks(root / "links", loaded.programs, tcx=tcx)
    finally:
        loaded.close()


def _device(name: str) -> int:
    subprocess.run(["ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}p"], check=True)
    return socket.if_nametoindex(name)


def _links(root: Path) -> dict[str, tuple[int, int]]:
    """Link id and program id by pin."""
    found = {}
    for path in (root / "links").iterdir():
        fd = libbpf.get_pinned(path)
        info = libbpf.link_info(fd)
        os.close(fd)
        found[path.name] = (info.id, info.program_id)
    return found


def test_the_next_agent_keeps_the_links_and_exchanges_the_programs(pin_root: Path, tiny: Tiny, cgroup: Path) -> None:
    def play() -> tuple[dict[str, tuple[int, int]], dict[str, tuple[int, int]]]:
        index = _device("u0")
        with _hooks(pin_root, tiny(1)) as hooks:
            hooks.attach(index, UPLINK)
            hooks.attach_sockets(cgroup)
            before = _links(pin_root)
        with _hooks(pin_root, tiny(2)) as hooks:
            assert hooks.exchange() == len(UPLINK) + len(SOCKET_HOOKS)
            hooks.attach(index, UPLINK)
            hooks.attach_sockets(cgroup)
        return before, _links(pin_root)

    before, after = in_new_netns(play)
    assert {name: link for name, (link, _) in after.items()} == {name: link for name, (link, _) in before.items()}
    assert not {program for _, program in before.values()} & {program for _, program in after.values()}


def test_a_device_without_one_of_its_programs_is_not_taken_for_attached(pin_root: Path, tiny: Tiny) -> None:
    def play() -> None:
        index = _device("u0")
        with _hooks(pin_root, tiny(1)) as hooks:
            hooks.attach(index, UPLINK)
            assert hooks.attached(UPLINK) == {index}
            (pin_root / "links" / f"uplink_egress-{index}").unlink()
            assert hooks.attached(UPLINK) == frozenset()

    in_new_netns(play)


def test_the_pins_of_a_device_that_left_are_removed(pin_root: Path, tiny: Tiny) -> None:
    def play() -> None:
        index = _device("p0")
        with _hooks(pin_root, tiny(1)) as hooks:
            hooks.attach(index, POD)
            subprocess.run(["ip", "link", "del", "p0"], check=True)
            assert hooks.attached(POD) == frozenset()
        assert list((pin_root / "links").iterdir()) == []

    in_new_netns(play)


@pytest.mark.parametrize("tcx", [True, False])
def test_detach_leaves_nothing_on_the_device(pin_root: Path, tiny: Tiny, *, tcx: bool) -> None:
    def play() -> str:
        index = _device("p0")
        with _hooks(pin_root, tiny(1), tcx=tcx) as hooks:
            hooks.attach(index, POD)
            assert hooks.attached(POD) == {index}
            hooks.detach(index, POD)
            assert hooks.attached(POD) == frozenset()
        return _tc("qdisc", "show", "dev", "p0")

    assert "clsact" not in in_new_netns(play)


def _guard(hooks: Hooks, index: int) -> None:
    with Socket() as netlink:
        netlink.ask(*hooks.guards(index, POD))


def _filters(name: str) -> int:
    """The sides of a device that have filters on clsact."""
    return sum(bool(_tc("filter", "show", "dev", name, side)) for side in ("ingress", "egress"))


def _tc(*words: str) -> str:
    return subprocess.run(["tc", *words], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("tcx", [True, False])
def test_a_pod_is_guarded_by_clsact_and_settled_on_tcx_where_that_is(pin_root: Path, tiny: Tiny, *, tcx: bool) -> None:
    def play() -> None:
        index = _device("p0")
        with _hooks(pin_root, tiny(1), tcx=tcx) as hooks:
            assert not hooks.has(index, POD)
            _guard(hooks, index)
            assert hooks.has(index, POD)
            assert _filters("p0") == len(POD)
            before = libbpf.tc_query(index, ingress=True)
            hooks.guard(index, POD)
            assert libbpf.tc_query(index, ingress=True) == before, "what is there stays"
            for _ in range(2):
                hooks.move_to_tcx(index, POD)
                assert hooks.has(index, POD)
                assert _filters("p0") == (0 if tcx else len(POD))
            hooks.guard(index, POD)
            assert _filters("p0") == (0 if tcx else len(POD)), "a settled pod needs no guard"
            assert "clsact" in _tc("qdisc", "show", "dev", "p0"), "to take it off would cost packets"
        assert len(_links(pin_root)) == (len(POD) if tcx else 0)

    in_new_netns(play)


def test_a_pod_that_was_being_settled_when_the_agent_died_has_the_next_ones_programs_in_both_places(
    pin_root: Path, tiny: Tiny
) -> None:
    def play() -> None:
        index = _device("p0")
        with _hooks(pin_root, tiny(1)) as hooks:
            _guard(hooks, index)
            hooks.attach(index, POD)  # the links are made, the filters not yet removed
            before = _everywhere(pin_root, index)
        with _hooks(pin_root, tiny(2)) as hooks:
            assert hooks.exchange() == 2 * len(POD)
            assert not before & _everywhere(pin_root, index)
            hooks.move_to_tcx(index, POD)
            assert not _filters("p0")

    in_new_netns(play)


def test_a_filter_of_somebody_elses_stays_when_a_pod_is_settled(pin_root: Path, tiny: Tiny) -> None:
    def play() -> None:
        index = _device("p0")
        with _hooks(pin_root, tiny(1)) as hooks:
            _guard(hooks, index)
            theirs = "filter add dev p0 ingress pref 7 u32 match u32 0 0 flowid 1:1"
            _tc(*theirs.split())
            hooks.move_to_tcx(index, POD)
        said = _tc("filter", "show", "dev", "p0", "ingress")
        assert "u32" in said
        assert "pod_ingress" not in said

    in_new_netns(play)


def test_a_pin_is_not_taken_for_that_of_a_new_device_with_the_number_of_one_that_left(
    pin_root: Path, tiny: Tiny
) -> None:
    def play() -> None:
        index = _device("p0")
        with _hooks(pin_root, tiny(1)) as hooks:
            hooks.attach(index, POD)
            subprocess.run(["ip", "link", "del", "p0"], check=True)
            words = f"link add p1 index {index} type veth peer name p1p"
            subprocess.run(["ip", *words.split()], check=True)
            assert not hooks.has(index, POD)
            hooks.attach(index, POD)
            assert libbpf.program_query(index, libbpf.AttachType.TCX_INGRESS)

    in_new_netns(play)


def _everywhere(pin_root: Path, index: int) -> set[int | None]:
    """The programs of the device's links and filters."""
    filters = {libbpf.tc_query(index, ingress=side) for side in (True, False)}
    return filters | {program for _, program in _links(pin_root).values()}


def test_without_tcx_the_device_keeps_the_program_and_the_next_agent_exchanges_it(pin_root: Path, tiny: Tiny) -> None:
    def play() -> tuple[int | None, int | None]:
        index = _device("u0")
        with _hooks(pin_root, tiny(1), tcx=False) as hooks:
            hooks.attach(index, UPLINK)
        first = libbpf.tc_query(index, ingress=True)
        with _hooks(pin_root, tiny(2), tcx=False) as hooks:
            assert hooks.attached(UPLINK) == {index}
            assert hooks.exchange() == len(UPLINK)
        return first, libbpf.tc_query(index, ingress=True)

    first, second = in_new_netns(play)
    assert None not in (first, second)
    assert first != second


def test_somebody_elses_filter_is_never_replaced(pin_root: Path, tiny: Tiny) -> None:
    def play() -> None:
        index = _device("u0")
        with Object.open(tiny(1)["tiny"]) as theirs, _hooks(pin_root, tiny(1), tcx=False) as hooks:
            theirs.load()
            libbpf.tc_attach(index, ingress=True, program_fd=theirs.program_fd("stranger"))
            before = libbpf.tc_query(index, ingress=True)
            with pytest.raises(KernelRefused, match="stranger"):
                hooks.attach(index, UPLINK)
            assert libbpf.tc_query(index, ingress=True) == before

    in_new_netns(play)


def test_the_socket_hook_is_switched_off_and_on(pin_root: Path, tiny: Tiny, cgroup: Path) -> None:
    folder = os.open(cgroup, os.O_RDONLY)
    with _hooks(pin_root, tiny(1)) as hooks:
        hooks.attach_sockets(cgroup)
        assert [len(libbpf.program_query(folder, kind)) for kind in SOCKET_HOOKS.values()] == [1] * len(SOCKET_HOOKS)
        hooks.detach_sockets()
        assert [len(libbpf.program_query(folder, kind)) for kind in SOCKET_HOOKS.values()] == [0] * len(SOCKET_HOOKS)
    os.close(folder)


def test_another_cgroup_gets_links_of_its_own(pin_root: Path, tiny: Tiny, cgroup: Path) -> None:
    child = cgroup / "child"
    child.mkdir()
    try:
        with _hooks(pin_root, tiny(1)) as hooks:
            hooks.attach_sockets(child)
            before = _links(pin_root)
            hooks.attach_sockets(cgroup)
            assert not set(before.values()) & set(_links(pin_root).values())
            hooks.detach_sockets()
    finally:
        child.rmdir()


@pytest.mark.parametrize("tcx", [True, False])
def test_programs_of_others_on_our_hooks_are_found(pin_root: Path, tiny: Tiny, cgroup: Path, *, tcx: bool) -> None:
    def play() -> dict[str, tuple[str, ...]]:
        index, other = _device("u0"), _device("u1x")
        with Object.open(tiny(1)["tiny"]) as theirs, _hooks(pin_root, tiny(2), tcx=tcx) as hooks:
            theirs.load()
            hooks.attach(index, UPLINK)
            hooks.attach_sockets(cgroup)
            assert hooks.foreign({index: "u0"}, cgroup) == {}
            libbpf.tc_attach(other, ingress=False, program_fd=theirs.program_fd("stranger"))
            link = libbpf.link_create(theirs.program_fd("stranger"), other, libbpf.AttachType.TCX_INGRESS)
            found = hooks.foreign({other: "u1x"}, None)
            os.close(link)
            return found

    found = in_new_netns(play)
    assert found["u1x egress"] == ("tc filter bpf of priority 1",)
    assert ("(stranger)" in found.get("u1x ingress", ("",))[0]) is tcx


def test_the_kernel_keeps_the_whole_name_of_each_program() -> None:
    assert all(len(name) <= 15 for name in (*DEVICE_HOOKS, *SOCKET_HOOKS)), "BPF_OBJ_NAME_LEN, with its NUL, is 16"


@pytest.mark.parametrize("tcx", [True, False])
def test_a_device_that_left_has_no_programs_of_others(pin_root: Path, tiny: Tiny, *, tcx: bool) -> None:
    def play() -> dict[str, tuple[str, ...]]:
        with _hooks(pin_root, tiny(1), tcx=tcx) as hooks:
            return hooks.foreign({99: "gone"}, None)

    assert in_new_netns(play) == {}
