"""The attachment files: written whole, void after a reboot, never a reason not to start."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from agent.model.local import Attachment
from agent.model.name import ObjectName
from agent.serve.attachments import Store, host_device

POD = Attachment(
    container_id="c1",
    interface="eth0",
    endpoint_id=7,
    netns="/run/netns/c1",
    netns_cookie=4711,
    host_device=host_device("c1", "eth0"),
    ifindex=12,
    mac="02:00:00:00:00:01",
    ipv4=IPv4Address("10.0.0.2"),
    ipv6=IPv6Address("fd00::2"),
    pod=ObjectName("default", "web"),
)


def test_what_was_saved_is_loaded_oldest_first(tmp_path: Path) -> None:
    store = Store(tmp_path, "boot")
    other = replace(POD, container_id="c0", ipv6=None, pod=None)
    store.save(POD, "sluiceway", 2)
    store.save(other, "sluiceway", 1)
    assert [saved.attachment for saved in Store(tmp_path, "boot").load()] == [other, POD]


def test_after_a_reboot_attachments_are_void(tmp_path: Path) -> None:
    Store(tmp_path, "before").save(POD, "sluiceway", 1)
    assert Store(tmp_path, "after").load() == ()
    assert list(tmp_path.iterdir()) == []


def test_an_unreadable_file_and_a_draft_are_removed(tmp_path: Path) -> None:
    (tmp_path / "swp0000000000.json").write_bytes(b'{"attachment":')
    (tmp_path / "swp0000000001.json").write_bytes(b"")
    (tmp_path / "swp0000000002.new").write_bytes(b"{}")
    assert Store(tmp_path, "boot").load() == ()
    assert list(tmp_path.iterdir()) == []


def test_removing_twice_is_removing(tmp_path: Path) -> None:
    store = Store(tmp_path, "boot")
    store.save(POD, "sluiceway", 1)
    store.remove(POD)
    store.remove(POD)
    assert store.load() == ()


def test_a_device_is_named_by_container_and_interface() -> None:
    names = {host_device(c, i) for c in ("a", "ab") for i in ("eth0", "beth0", "net1")}
    assert len(names) == 6
    assert all(len(name) == 13 for name in names)
