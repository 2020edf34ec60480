"""The files that host-local and libcni leave, as they are on a node."""

import json
from ipaddress import ip_address
from pathlib import Path

import pytest

from agent.pods.host_local import Reservation, Unreadable, is_dead, reservations, stamp


def result(end: str = "veth1a2b3c4d") -> dict[str, object]:
    """What the bridge plugin answers."""
    return {
        "cniVersion": "1.0.0",
        "interfaces": [
            {"name": "cni0", "mac": "6a:00:00:00:00:01"},
            {"name": end, "mac": "6a:00:00:00:00:02"},
            {"name": "eth0", "mac": "6a:00:00:00:00:03", "sandbox": "/var/run/netns/cni-1"},
        ],
        "ips": [{"address": "10.0.0.2/24", "interface": 2}],
    }


def reserve(folder: Path, address: str, content: str | bytes, network: str = "cbr0") -> Path:
    """A file of host-local's."""
    path = folder / "networks" / network / address
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def remember(folder: Path, name: str, content: object) -> None:
    """A file of libcni's."""
    (folder / "results").mkdir(exist_ok=True)
    (folder / "results" / name).write_text(json.dumps(content))


def test_both_forms_and_both_families_are_read(tmp_path: Path) -> None:
    newer = reserve(tmp_path, "10.0.0.2", "c1\r\neth0")
    older = reserve(tmp_path, "10.0.0.3", "c2")
    six = reserve(tmp_path, "fd00::2", "c1\r\neth0", "six")
    for name in ("last_reserved_ip.0", "last_reserved_ip.1", "lock"):
        reserve(tmp_path, name, "10.0.0.3" if name != "lock" else "")
    assert list(reservations(tmp_path)) == [
        Reservation(ip_address("10.0.0.2"), "cbr0", "c1", "eth0", newer),
        Reservation(ip_address("10.0.0.3"), "cbr0", "c2", "", older),
        Reservation(ip_address("fd00::2"), "six", "c1", "eth0", six),
    ]


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        pytest.param("10.0.0.4", "", "it is empty", id="empty, as after a power loss"),
        pytest.param("10.0.0.5", "\r\n", "it is empty", id="a line's end alone"),
        pytest.param("10.0.0", "c1\r\neth0", "its name is no address", id="another name"),
        pytest.param("10.0.0.6", b"\xff\xfe", "can't decode", id="no text"),
    ],
)
def test_a_bad_file_is_named_and_hides_no_other(tmp_path: Path, name: str, content: str | bytes, why: str) -> None:
    bad = reserve(tmp_path, name, content)
    good = reserve(tmp_path, "10.0.0.9", "c9\r\neth0")
    found = list(reservations(tmp_path))
    (unreadable,) = (each for each in found if isinstance(each, Unreadable))
    assert unreadable.file == bad
    assert why in unreadable.why
    assert [each.file for each in found if isinstance(each, Reservation)] == [good]


def test_a_node_without_host_local_has_none(tmp_path: Path) -> None:
    assert list(reservations(tmp_path / "none")) == []
    assert stamp(tmp_path / "none") == ()


def test_a_file_that_comes_or_goes_is_noticed(tmp_path: Path) -> None:
    path = reserve(tmp_path, "10.0.0.2", "c1")
    before = stamp(tmp_path)
    assert stamp(tmp_path) == before
    path.unlink()
    assert stamp(tmp_path) != before


@pytest.mark.parametrize("interface", ["eth0", ""], ids=["the interface is known", "an older file"])
@pytest.mark.parametrize("form", [lambda r: {"kind": "cniCacheV1", "result": r}, lambda r: r], ids=["cached", "bare"])
def test_a_pod_lives_as_long_as_its_device(tmp_path: Path, interface: str, form) -> None:  # type: ignore[no-untyped-def]
    pod = Reservation(ip_address("10.0.0.2"), "cbr0", "c1", interface, tmp_path)
    remember(tmp_path, "cbr0-c1-eth0", form(result()))
    assert not is_dead(pod, tmp_path, {"lo", "cni0", "veth1a2b3c4d"})
    assert is_dead(pod, tmp_path, {"lo", "cni0"})


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(None, id="nothing was kept"),
        pytest.param({"result": {"ips": []}}, id="no interfaces"),
        pytest.param([], id="no object"),
        pytest.param({"interfaces": [{"name": "cni0"}, {"name": "net7"}]}, id="no veth"),
        pytest.param({"interfaces": 7}, id="no list"),
    ],
)
def test_a_pod_of_whose_device_nothing_is_known_is_taken_to_live(tmp_path: Path, content: object) -> None:
    pod = Reservation(ip_address("10.0.0.2"), "cbr0", "c1", "eth0", tmp_path)
    if content is not None:
        remember(tmp_path, "cbr0-c1-eth0", content)
    assert not is_dead(pod, tmp_path, {"lo"})
