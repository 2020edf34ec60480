"""Sysctls are set, remembered and put back, in a folder that stands for /proc/sys/net."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from agent.errors import AgentError
from agent.kernel.net import sysctl
from agent.kernel.net.sysctl import RESERVED, STATE, Sysctls


@pytest.fixture
def proc(tmp_path: Path) -> Any:
    root = tmp_path / "net"
    sysctls = {"ipv4/ip_forward": "0", "ipv6/conf/all/forwarding": "0", "ipv4/conf/all/rp_filter": "1"}
    for device in ("eth0", "other"):
        sysctls |= {
            f"ipv4/conf/{device}/rp_filter": "0",
            f"ipv4/conf/{device}/forwarding": "0",
            f"ipv6/conf/{device}/forwarding": "0",
            f"ipv6/conf/{device}/accept_ra": "1",
        }
    sysctls["ipv4/conf/other/forwarding"] = "1"
    for name, value in sysctls.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value)
    return root


def _all(root: Any) -> Any:
    return {str(p.relative_to(root)): p.read_text() for p in sorted(root.rglob("*")) if p.is_file()}


def test_put_back_leaves_everything_as_it_was(proc: Path, tmp_path: Path) -> None:
    before = _all(proc)
    sysctls = Sysctls(tmp_path / "state", proc)
    sysctls.node()
    sysctls.uplink("eth0")
    assert _all(proc) != before
    Sysctls(tmp_path / "state", proc).put_back()  # as cleanup does: another process
    assert _all(proc) == before
    assert not (tmp_path / "state" / STATE).exists()


@pytest.mark.parametrize("death", range(1, 9))
def test_a_clean_up_that_dies_is_finished_by_the_next(
    proc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, death: int
) -> None:
    """As the kernel does, forwarding for all is given to each device."""
    before = _all(proc)
    (tmp_path / "state").mkdir()
    (tmp_path / "state/sysctls.new").write_text("half of")
    sysctls = Sysctls(tmp_path / "state", proc)
    sysctls.node()
    sysctls.uplink("eth0")
    written = []

    def write(path: Path, value: str) -> bool:
        written.append(path)
        if len(written) == death:
            raise KeyboardInterrupt
        path.write_text(value)
        if path == proc / "ipv4/ip_forward":
            for device in (proc / "ipv4/conf").glob("*/forwarding"):
                device.write_text(value)
        return True

    monkeypatch.setattr(sysctl, "_write", write)
    with suppress(KeyboardInterrupt):
        Sysctls(tmp_path / "state", proc).put_back()
    assert len(written) <= death
    Sysctls(tmp_path / "state", proc).put_back()
    assert _all(proc) == before
    assert [*(tmp_path / "state").iterdir()] == []


def test_what_cannot_be_put_back_keeps_its_old_value_for_the_next_cleanup(
    proc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _all(proc)
    sysctls = Sysctls(tmp_path / "state", proc)
    sysctls.node()
    sysctls.uplink("eth0")
    (proc / "ipv4/conf/eth0/rp_filter").unlink()  # of a device that leaves
    del before["ipv4/conf/eth0/rp_filter"]
    with monkeypatch.context() as read_only:
        read_only.setattr(sysctl, "_write", lambda *_: False)
        with pytest.raises(AgentError, match="cannot be put back"):
            Sysctls(tmp_path / "state", proc).put_back()
        with pytest.raises(AgentError, match="cannot be put back"):
            Sysctls(tmp_path / "state", proc).put_back()
    Sysctls(tmp_path / "state", proc).put_back()
    assert _all(proc) == before
    assert [*(tmp_path / "state").iterdir()] == []


def test_only_our_devices_lose_the_filter_that_all_gave_them(proc: Path, tmp_path: Path) -> None:
    sysctls = Sysctls(tmp_path, proc)
    sysctls.node()
    sysctls.uplink("eth0")
    assert (proc / "ipv4/conf/all/rp_filter").read_text() == "0"
    assert (proc / "ipv4/conf/other/rp_filter").read_text() == "1"
    assert (proc / "ipv4/conf/eth0/rp_filter").read_text() == "0"


def test_what_others_set_of_the_nodes_is_set_again_and_filters_no_device_of_ours(proc: Path, tmp_path: Path) -> None:
    pod = "swp0123456789"
    for device in (pod, "swtunnel"):
        (proc / f"ipv4/conf/{device}").mkdir()
        (proc / f"ipv4/conf/{device}/rp_filter").write_text("0")
    sysctls = Sysctls(tmp_path, proc)
    sysctls.node()
    sysctls.uplink("eth0")
    for name, value in (("ip_forward", "0"), ("conf/all/rp_filter", "2")):
        (proc / "ipv4" / name).write_text(value)  # as `sysctl --system` does
    sysctls.node()
    found = {
        device: (proc / f"ipv4/conf/{device}/rp_filter").read_text() for device in ("all", "eth0", pod, "swtunnel")
    }
    assert found == dict.fromkeys(("all", "eth0", pod, "swtunnel"), "0")
    assert (proc / "ipv4/conf/other/rp_filter").read_text() == "2"
    assert (proc / "ipv4/ip_forward").read_text() == "1"
    Sysctls(tmp_path, proc).put_back()
    assert (proc / "ipv4/ip_forward").read_text() == "0"


def test_what_others_set_of_a_pods_device_is_set_again(proc: Path, tmp_path: Path) -> None:
    (proc / "ipv4/conf/swp0123456789").mkdir()
    (proc / "ipv4/conf/swp0123456789/rp_filter").write_text("1")  # by udev
    before = _all(proc)
    Sysctls(tmp_path / "state", proc).pod_again("swp0123456789")
    assert _all(proc) == before | {"ipv4/conf/swp0123456789/rp_filter": "0"}
    assert not (tmp_path / "state" / STATE).exists()  # the device goes with the pod: nothing is to be put back


def test_a_host_that_learns_routes_from_routers_goes_on_doing_so(proc: Path, tmp_path: Path) -> None:
    Sysctls(tmp_path, proc).node()
    assert (proc / "ipv6/conf/other/accept_ra").read_text() == "2"


def test_the_second_start_keeps_the_first_old_value(proc: Path, tmp_path: Path) -> None:
    Sysctls(tmp_path, proc).node()
    (proc / "ipv4/ip_forward").write_text("0")  # somebody else, while the agent was dead
    Sysctls(tmp_path, proc).node()
    assert json.loads((tmp_path / STATE).read_text())["ipv4/ip_forward"] == ["0", "1"]


def test_what_somebody_else_changed_since_is_left_to_them(proc: Path, tmp_path: Path) -> None:
    Sysctls(tmp_path, proc).node()
    (proc / "ipv4/conf/all/rp_filter").write_text("2")
    assert "ipv4/conf/all/rp_filter" not in Sysctls(tmp_path, proc).put_back()
    assert (proc / "ipv4/conf/all/rp_filter").read_text() == "2"


def test_a_value_is_kept_before_it_is_changed(proc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sysctls = Sysctls(tmp_path, proc)
    monkeypatch.setattr("agent.kernel.net.sysctl._write", lambda *_: pytest.fail("written first"))
    with pytest.raises(BaseException, match="written first"):
        sysctls.node()
    assert (tmp_path / STATE).exists()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("", "30000-32767", id="none were reserved"),
        pytest.param("8080,9148-9150", "8080,9148-9150,30000-32767", id="some were, and stay so"),
        pytest.param("29999,32768-32800", "29999-32800", id="next to others"),
        pytest.param("1-65535", "1-65535", id="all are"),
    ],
)
def test_node_ports_are_reserved_and_given_back(proc: Path, tmp_path: Path, before: str, after: str) -> None:
    file = proc / RESERVED
    file.write_text(before)
    sysctls = Sysctls(tmp_path / "state", proc)
    for _ in ("a start", "another one"):
        sysctls.reserve_ports([(30000, 32767)])
        assert file.read_text() == after
    sysctls.put_back()
    assert file.read_text().strip() == before


def test_other_node_ports_are_reserved_in_place_of_the_earlier_ones(proc: Path, tmp_path: Path) -> None:
    (proc / RESERVED).write_text("8080")
    Sysctls(tmp_path / "state", proc).reserve_ports([(30000, 32767)])
    again = Sysctls(tmp_path / "state", proc)
    again.reserve_ports([(20000, 20001)])
    assert (proc / RESERVED).read_text() == "8080,20000-20001"
    again.put_back()
    assert (proc / RESERVED).read_text() == "8080"


def _dying_at(monkeypatch: pytest.MonkeyPatch, death: int) -> None:
    """Each value that is written to the kernel, and each file that is kept, may be the last, done or not."""
    reached: list[object] = []
    write, save = (vars(of)[name] for of, name in ((sysctl, "_write"), (Sysctls, "_save")))

    def reach(result: object) -> object:
        reached.append(result)
        if len(reached) == death:
            raise KeyboardInterrupt
        return result

    def done(act: Callable[[], object]) -> object:
        reach(None)
        return reach(act())

    monkeypatch.setattr(sysctl, "_write", lambda path, value: done(lambda: write(path, value)))
    monkeypatch.setattr(Sysctls, "_save", lambda self: done(lambda: save(self)))


@pytest.mark.parametrize("death", range(1, 7))
@pytest.mark.parametrize("follower", ["a clean-up", "another agent"])
def test_a_death_between_two_values_of_ours_leaves_neither(
    proc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, death: int, follower: str
) -> None:
    """What is changed twice: an uplink's filter, which first is as that of all was; and node ports, which change."""
    (proc / RESERVED).write_text("8080")
    before = _all(proc)
    changes: tuple[Callable[[Sysctls], None], ...]
    changes = (lambda made: made.uplink("eth0"), lambda made: made.reserve_ports([(20000, 20001)]))
    for change in changes:
        first = Sysctls(tmp_path / "state", proc)
        first.node()
        first.reserve_ports([(30000, 32767)])
        with monkeypatch.context() as patched, suppress(KeyboardInterrupt):
            _dying_at(patched, death)
            change(Sysctls(tmp_path / "state", proc))
        after = Sysctls(tmp_path / "state", proc)
        if follower == "another agent":
            after.uplink("eth0")
            after.reserve_ports([(20000, 20001)])
            assert (proc / RESERVED).read_text() == "8080,20000-20001"
            (proc / RESERVED).write_text("8081")  # somebody else
            after.put_back()
            assert (proc / RESERVED).read_text() == "8081"
            (proc / RESERVED).write_text("8080")
        after.put_back()
        assert _all(proc) == before


def test_a_device_that_left_is_no_error(proc: Path, tmp_path: Path) -> None:
    Sysctls(tmp_path, proc).uplink("gone0")
    Sysctls(tmp_path, proc).pod("gone1")
    Sysctls(tmp_path, proc).pod_again("gone1")
