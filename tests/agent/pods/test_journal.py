"""The journal of attachments: told as it was written, void after a reboot, never a reason not to start."""

import os
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model.attachment import AfXdp, Attachment, Captured, HostPort, Veth
from agent.model.name import ObjectName
from agent.model.service import Protocol
from agent.pods.append_file import framed
from agent.pods.attachments import Saved, host_device
from agent.pods.journal import Entry, Journal, Stage
from agent.pods.record import saved_record

POD = Attachment(
    container_id="c1",
    interface="eth0",
    endpoint_id=7,
    slot=3,
    netns="/run/netns/c1",
    netns_cookie=4711,
    mac="02:00:00:00:00:01",
    link=Veth(host_device("c1", "eth0"), 12),
    ipv4=IPv4Address("10.0.0.2"),
    ipv6=IPv6Address("fd00::2"),
    pod=ObjectName("default", "web"),
    host_ports=(HostPort("127.0.0.1", 80, Protocol.TCP, 8080),),
)
SAVED = Saved(POD, "sluiceway", 7)
KEY = POD.key


def saved(number: int) -> Saved:
    name = f"c{number}"
    pod = replace(POD, container_id=name, endpoint_id=number, link=Veth(host_device(name, "eth0"), 12))
    return Saved(pod, "sluiceway", number)


def journal(directory: Path, boot: str = "boot") -> Journal:
    """An agent's journal, as it is when the agent runs."""
    made = Journal(directory, boot)
    made.begin(entry.saved for entry in made.load() if entry.saved and entry.stage is Stage.ADDED)
    return made


def left(directory: Path, boot: str = "boot") -> list[tuple[Stage, str]]:
    """What the next agent is told."""
    return [(entry.stage, entry.key[0]) for entry in Journal(directory, boot).load()]


WALK = [(Stage.ADDING, None), (Stage.MADE, SAVED), (Stage.ADDED, None), (Stage.DELETING, None), (Stage.GONE, None)]


@pytest.mark.parametrize("stages", range(1, len(WALK) + 1), ids=[f"until {stage}" for stage, _ in WALK])
def test_the_next_agent_is_told_how_far_an_attachment_came(tmp_path: Path, stages: int) -> None:
    ours = journal(tmp_path)
    for stage, what in WALK[:stages]:
        ours.append(stage, KEY, what)
    last = WALK[stages - 1][0]
    expected = () if last is Stage.GONE else (Entry(last, KEY, None if last is Stage.ADDING else SAVED),)
    assert Journal(tmp_path, "boot").load() == expected


def test_attachments_are_told_oldest_first(tmp_path: Path) -> None:
    ours = journal(tmp_path)
    for number in (2, 1, 3):
        ours.append(Stage.MADE, saved(number).attachment.key, saved(number))
    assert [name for _, name in left(tmp_path)] == ["c1", "c2", "c3"]


def test_after_a_reboot_all_is_void_and_its_file_goes(tmp_path: Path) -> None:
    journal(tmp_path, "before").append(Stage.MADE, KEY, SAVED)
    assert left(tmp_path, "after") == []
    journal(tmp_path, "after")
    assert [path.name for path in tmp_path.iterdir()] == ["after.journal"]


def _written(directory: Path, pods: int) -> Path:
    ours = journal(directory)
    for number in range(1, pods + 1):
        ours.append(Stage.MADE, saved(number).attachment.key, saved(number))
    return directory / "boot.journal"


@pytest.mark.parametrize("kept", [0, 1, 8, 9, 40, -2, -1], ids=lambda kept: f"{kept} octets of it are there")
def test_a_line_that_was_torn_is_left_out_and_the_next_stands_by_itself(tmp_path: Path, kept: int) -> None:
    path = _written(tmp_path, 2)
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + second[:kept])
    assert left(tmp_path) == [(Stage.MADE, "c1")]
    ours = Journal(tmp_path, "boot")
    ours.begin(entry.saved for entry in ours.load() if entry.saved)
    ours.append(Stage.MADE, saved(3).attachment.key, saved(3))
    assert left(tmp_path) == [(Stage.ADDED, "c1"), (Stage.MADE, "c3")]


@pytest.mark.parametrize(
    "garbage",
    [
        pytest.param(bytes(700), id="zeros, as a file system leaves them"),
        pytest.param(b"\xff\n" * 20, id="short lines"),
        pytest.param(framed(b'{"step":"of another version","key":["c1","eth0"]}'), id="a stage that is not known"),
        pytest.param(framed(b"[]"), id="another kind of value"),
        pytest.param(framed(b'{"step":"added","key":["never","begun"]}'), id="a stage of what was never begun"),
    ],
)
def test_garbage_in_the_middle_costs_the_lines_that_it_spoilt(tmp_path: Path, garbage: bytes) -> None:
    path = _written(tmp_path, 3)
    first, second, third = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + garbage + b"\n" + second + third)
    assert [name for _, name in left(tmp_path)] == ["c1", "c2", "c3"]


@given(at=st.integers(0, 2000), value=st.binary(min_size=1, max_size=8))
def test_whatever_a_disk_makes_of_it_what_is_told_was_written(
    tmp_path_factory: pytest.TempPathFactory, at: int, value: bytes
) -> None:
    directory = tmp_path_factory.mktemp("journal")
    path = _written(directory, 3)
    content = path.read_bytes()
    path.write_bytes(content[:at] + value + content[at + len(value) :])
    written = {entry.key: entry for entry in (Entry(Stage.MADE, s.attachment.key, s) for s in map(saved, (1, 2, 3)))}
    told = Journal(directory, "boot").load()
    assert all(written[entry.key] == entry for entry in told)
    assert len(told) >= 1


def test_a_long_life_makes_the_file_anew_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.pods.append_file.LONGEST", 4000)
    ours, longest = journal(tmp_path), 0
    ours.append(Stage.MADE, KEY, SAVED)
    for number in range(2, 60):
        key = saved(number).attachment.key
        ours.append(Stage.ADDING, key)
        ours.flush()
        ours.append(Stage.GONE, key)
        longest = max(longest, (tmp_path / "boot.journal").stat().st_size)
    assert left(tmp_path) == [(Stage.MADE, "c1")]
    assert longest < 6000


def test_a_quiet_moment_makes_a_long_file_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.pods.append_file.LONG", 4000)
    ours, path = journal(tmp_path), tmp_path / "boot.journal"
    ours.append(Stage.MADE, KEY, SAVED)
    for number in range(2, 60):
        ours.append(Stage.MADE, saved(number).attachment.key, saved(number))
        ours.append(Stage.GONE, saved(number).attachment.key)
    ours.flush()
    assert path.stat().st_size > 6000
    ours.shorten()
    assert path.stat().st_size < 2000
    assert left(tmp_path) == [(Stage.MADE, "c1")]


# ---- files of agents before this one ---------------------------------------------------------------------------------

OLD = (
    b'{"attachment":{"container_id":"c1","interface":"eth0","endpoint_id":7,"netns":"/run/netns/c1","netns_cookie":4711,'
    b'"host_device":"swpec43057c07","ifindex":12,"mac":"02:00:00:00:00:01","ipv4":"10.0.0.2","ipv6":"fd00::2",'
    b'"pod":{"namespace":"default","name":"web"},"host_ports":[{"host_ip":"127.0.0.1","host_port":80,"protocol":6,'
    b'"container_port":8080}],"ingress_limit":null,"egress_limit":null},"network":"sluiceway","sequence":7}'
)


def test_older_and_newer_agents_read_the_same_lines(tmp_path: Path) -> None:
    old = framed(b'{"step":"wired","key":["c1","eth0"],"saved":%b}' % OLD)
    ours, path = journal(tmp_path), tmp_path / "boot.journal"
    ours.append(Stage.MADE, KEY, replace(SAVED, asked_at_ns=11))
    new = msgspec.json.decode(path.read_bytes()[9:])
    assert new["saved"]["attachment"].items() >= msgspec.json.decode(OLD)["attachment"].items()
    path.write_bytes(old)
    without_slot = replace(SAVED, attachment=replace(POD, slot=0))
    assert Journal(tmp_path, "boot").load() == (Entry(Stage.MADE, KEY, without_slot),)


def test_what_agents_write_down_since_then_is_read_again(tmp_path: Path) -> None:
    link = replace(POD.link, afxdp=AfXdp("pods/a/b/eth0", 2, (Captured(17, 53, 53),)))
    second = Saved(replace(POD, is_first=False, network=ObjectName("shop", "fast"), link=link), "sluiceway", 7, 4711)
    journal(tmp_path).append(Stage.MADE, KEY, second)
    assert Journal(tmp_path, "boot").load() == (Entry(Stage.MADE, KEY, second),)


def test_what_an_older_agent_had_begun_has_no_device_yet(tmp_path: Path) -> None:
    path = tmp_path / "boot.journal"
    path.write_bytes(framed(b'{"step":"adding","key":["c1","eth0"],"saved":%b}' % OLD))
    assert Journal(tmp_path, "boot").load() == (Entry(Stage.ADDING, KEY),)


def _old_file(directory: Path, pod: Saved, boot: str = "boot") -> Path:
    content = {**msgspec.to_builtins(saved_record(pod), enc_hook=str), "boot_id": boot}
    path = directory / f"{pod.attachment.link.host_device}.json"
    path.write_bytes(msgspec.json.encode(content, enc_hook=str))
    return path


def test_an_upgrade_takes_over_the_files_of_the_agent_before(tmp_path: Path) -> None:
    for number in (2, 1):
        _old_file(tmp_path, saved(number))
    _old_file(tmp_path, saved(3), "an earlier boot")
    (tmp_path / "swp0000000000.json").write_bytes(b'{"attachment":')
    (tmp_path / "swp0000000002.new").write_bytes(b"{}")
    assert Journal(tmp_path, "boot").load() == tuple(
        Entry(Stage.ADDED, one.attachment.key, one) for one in (saved(1), saved(2))
    )
    journal(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["boot.journal"]
    assert left(tmp_path) == [(Stage.ADDED, "c1"), (Stage.ADDED, "c2")]


def test_an_upgrade_that_dies_before_the_files_are_removed_believes_the_journal(tmp_path: Path) -> None:
    _old_file(tmp_path, saved(1))
    ours = journal(tmp_path)
    ours.append(Stage.DELETING, saved(1).attachment.key)
    _old_file(tmp_path, saved(1))
    assert left(tmp_path) == [(Stage.DELETING, "c1")]


# ---- a disk that refuses --------------------------------------------------------------------------------------------


def _full(*_: object) -> int:
    raise OSError(28, "No space left on device")


def test_a_full_disk_refuses_an_add_with_its_reason_and_lets_a_pod_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = journal(tmp_path)
    ours.append(Stage.MADE, KEY, SAVED)
    with monkeypatch.context() as patch:
        patch.setattr("agent.pods.append_file.os.write", _full)
        with pytest.raises(OSError, match="journal of pods cannot be written: No space left on device"):
            ours.append(Stage.ADDING, ("c2", "eth0"))
        ours.end(Stage.GONE, KEY)
        ours.end_flush()
    ours.append(Stage.MADE, saved(3).attachment.key, saved(3))
    assert left(tmp_path) == [(Stage.MADE, "c3")], "the first line that can be written brings all up to date"


def test_half_a_line_on_a_full_disk_spoils_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = journal(tmp_path)
    with monkeypatch.context() as patch:
        write = os.write
        patch.setattr("agent.pods.append_file.os.write", lambda fd, content: write(fd, content[:20]))
        with pytest.raises(OSError, match="No space left"):
            ours.append(Stage.MADE, KEY, SAVED)
    ours.append(Stage.MADE, saved(2).attachment.key, saved(2))
    assert left(tmp_path) == [(Stage.MADE, "c2")]


def test_what_could_not_be_flushed_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = journal(tmp_path)
    ours.append(Stage.MADE, KEY, SAVED)
    with monkeypatch.context() as patch:
        patch.setattr("agent.pods.append_file.os.fdatasync", _full)
        with pytest.raises(OSError, match="cannot be written"):
            ours.flush()
    with (tmp_path / "boot.journal").open() as held:
        ours.flush()
        assert os.fstat(held.fileno()).st_nlink == 0, "nobody knows what the disk has of it"
    assert left(tmp_path) == [(Stage.MADE, "c1")]


def test_a_file_that_somebody_removed_comes_back(tmp_path: Path) -> None:
    ours = journal(tmp_path / "folder")
    ours.append(Stage.MADE, KEY, SAVED)
    (tmp_path / "folder/boot.journal").unlink()
    (tmp_path / "folder").rmdir()
    ours.append(Stage.ADDED, KEY)
    ours.flush()
    assert left(tmp_path / "folder") == [(Stage.ADDED, "c1")]


def test_a_start_on_a_disk_that_cannot_be_written_knows_its_pods(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal(tmp_path).append(Stage.MADE, KEY, SAVED)
    with monkeypatch.context() as patch:
        patch.setattr("agent.pods.files.os.write", _full)
        ours = Journal(tmp_path, "boot")
        entries = ours.load()
        ours.begin(entry.saved for entry in entries if entry.saved)
        assert [entry.key for entry in entries] == [KEY]
        with pytest.raises(OSError, match="cannot be written"):
            ours.append(Stage.ADDING, ("c2", "eth0"))
        assert left(tmp_path) == [(Stage.MADE, "c1")], "what was there stays"
    ours.append(Stage.MADE, saved(8).attachment.key, saved(8))
    assert left(tmp_path) == [(Stage.ADDED, "c1"), (Stage.MADE, "c8")]


def test_a_death_while_the_file_is_made_anew_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Death(BaseException):
        pass

    def die(*_: object) -> None:
        raise Death

    ours = journal(tmp_path)
    ours.append(Stage.MADE, KEY, SAVED)
    for name in ("agent.pods.files.os.fsync", "pathlib.Path.rename"):
        with monkeypatch.context() as patch:
            patch.setattr(name, die)
            with pytest.raises(Death):
                Journal(tmp_path, "boot").begin([])
        assert (tmp_path / "boot.draft").exists()
        assert left(tmp_path) == [(Stage.MADE, "c1")]
    journal(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["boot.journal"]


def test_a_device_is_named_by_container_and_interface() -> None:
    names = {host_device(c, i) for c in ("a", "ab") for i in ("eth0", "beth0", "net1")}
    assert len(names) == 6
    assert all(len(name) == 13 for name in names)
