"""Further interfaces over plugins that are scripts: what is on the disk at each step, what fails, what hangs."""

import errno
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.compile.network_config import plugin_list
from agent.model.name import ObjectName
from agent.model.network import InterfaceRequest
from agent.netlink.netns import NoSuchNetns
from agent.pods import fail_points, networks
from agent.pods.delegate import Delegates
from agent.pods.errors import AlreadyAttached, NetworkFailed
from agent.pods.network_record import NetworkRecords, NetworkSet
from agent.pods.networks import Networks
from agent.pods.plugin import PluginFailed, Plugins

KEY = ("c1", "eth0")
OWNER = NetworkSet(*KEY, netns="/n", cluster_network="sluiceway", boot="b", interfaces=(), asked_at_ns=10)
# a plugin whose interface is a file, as long as it is there
MAKES = """#!/bin/sh
there=@/there-$CNI_CONTAINERID-$CNI_IFNAME
echo "$CNI_COMMAND $CNI_IFNAME ${CNI_NETNS:-none}" >> @/called
case $CNI_COMMAND in
DEL) [ ! -e @/slow-$CNI_IFNAME ] || sleep 600 ;;
esac
case $CNI_COMMAND in
ADD) [ ! -e $there ] || exit 3; : > $there; echo '{"cniVersion": "1.0.0"}' ;;
DEL) [ ! -e @/stuck ] || { echo '{"code": 11, "msg": "is stuck"}'; exit 1; }; rm -f $there ;;
CHECK) [ -e $there ] || { echo "it is gone" >&2; exit 7; } ;;
esac
"""
FAILS = "#!/bin/sh\n[ $CNI_COMMAND = ADD ] || exit 0\necho no >&2\nexit 5\n"
HANGS = "#!/bin/sh\n[ $CNI_COMMAND = ADD ] || exit 0\n(sleep 600) &\nsleep 600\n"
TALKS = "#!/bin/sh\necho no JSON\n"
LISTS = "#!/bin/sh\necho '[]'\n"
LATIN = '#!/bin/sh\nprintf \'{"msg": "n\\351"}\'\n'
MOANS = LATIN + "[ $CNI_COMMAND != ADD ] || exit 1\n"
OLD = '#!/bin/sh\necho \'{"code": 1, "msg": "incompatible CNI versions"}\'\nexit 1\n'
PLUGINS = {"makes": MAKES, "fails": FAILS, "hangs": HANGS, "talks": TALKS, "lists": LISTS}
PLUGINS |= {"latin": LATIN, "moans": MOANS, "old": OLD}


class Died(BaseException):
    """The agent's death."""


class Room:
    """A node with plugins; agents one after the other."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.alive = True
        for name, text in PLUGINS.items():
            (root / name).write_text(text.replace("@", str(root)))
            (root / name).chmod(0o755)
        self.start()

    def start(self) -> None:
        """A new agent over the same disk."""
        self.records = NetworkRecords(self.root / "networks")
        self.use(None)
        self.networks.restore()

    def use(self, root: Path | None) -> None:
        """Have plugins run in this root."""
        self.delegates = Delegates(Plugins(self.root, root))
        self.networks = Networks(self.records, self.delegates, lambda *_: None, lambda _: self.alive)

    def add(self, *kinds: str) -> Any:
        """ADD of a pod with interfaces of these kinds."""
        return self.networks.add(OWNER, [request(f"net{i}", kind) for i, kind in enumerate(kinds, 1)], ())

    def called(self) -> list[str]:
        """The commands until now."""
        path = self.root / "called"
        found = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return found

    def there(self) -> list[str]:
        """The interfaces that there are."""
        return sorted(path.name.removeprefix("there-c1-") for path in self.root.glob("there-*"))

    def is_empty(self) -> bool:
        """Whether nothing is left, on the disk either."""
        return (self.there(), self.records.all(), [*(self.root / "networks").glob("*")]) == ([], (), [])


def request(interface: str, kind: str, version: str = "1.0.0") -> InterfaceRequest:
    plugins = plugin_list(json.dumps({"cniVersion": version, "type": kind}), "lan")
    return InterfaceRequest(ObjectName("default", kind), interface, plugins, "{}")


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def test_networks_are_made_in_order_and_unmade_in_reverse(room: Room) -> None:
    room.add("makes", "makes")
    with pytest.raises(AlreadyAttached):
        room.add("makes")
    room.networks.check(KEY)
    room.networks.delete(KEY)
    room.networks.delete(KEY)
    commands = ["ADD net1", "ADD net2", "CHECK net1", "CHECK net2", "DEL net2", "DEL net1"]
    assert room.called() == [f"{one} /n" for one in commands]
    assert room.is_empty()


def test_plugins_are_looked_for_and_run_in_the_nodes_root(room: Room, tmp_path_factory: pytest.TempPathFactory) -> None:
    room.use(tmp_path_factory.mktemp("empty"))
    with pytest.raises(NetworkFailed, match=f"there is no executable {room.root}/makes"):
        room.add("makes")
    room.use(Path("/"))
    room.add("makes")
    room.networks.delete(KEY)
    assert room.called() == ["ADD net1 /n", "DEL net1 /n"]


def test_whose_pod_it_is_plugins_hear_from_the_runtime_whatever_the_pod_says(room: Room) -> None:
    path = room.root / "hears"
    path.write_text(f'#!/bin/sh\necho "$CNI_ARGS" > {room.root}/args\n')
    path.chmod(0o755)
    said = replace(request("net1", "hears"), args=(("K8S_POD_NAME", "other"), ("color", "red")))  # by an earlier agent
    owner = msgspec.structs.replace(OWNER, pod=ObjectName("default", "web"), pod_uid="u-web")
    room.networks.add(owner, [said], ())
    told = dict(pair.split("=") for pair in (room.root / "args").read_text().strip().split(";"))
    assert (told["K8S_POD_NAME"], told["K8S_POD_UID"], told["color"]) == ("web", "u-web", "red")


def test_a_check_says_which_interface_and_what(room: Room) -> None:
    room.add("makes", "makes")
    (room.root / "there-c1-net2").unlink()
    with pytest.raises(NetworkFailed, match="net2 of default/makes: plugin makes: it ended with status 7: it is gone"):
        room.networks.check(KEY)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        pytest.param("fails", "plugin fails: it ended with status 5: no", id="one that fails"),
        pytest.param("hangs", "plugin hangs: ADD is not done in time, and was killed", id="one that hangs"),
        pytest.param("talks", "plugin talks: its answer is no JSON", id="one that answers something else"),
        pytest.param("lists", "plugin lists: its answer is no JSON object", id="one that answers with a list"),
        pytest.param("latin", "plugin latin: its answer is no JSON", id="one that answers in another encoding"),
        pytest.param("moans", "plugin moans: it ended with status 1", id="one that complains in another encoding"),
        pytest.param("old", "plugin old: incompatible CNI versions", id="one that takes no such configuration"),
        pytest.param("absent", "plugin absent: there is no executable", id="one that is not there"),
    ],
)
def test_an_add_with_a_bad_plugin_leaves_nothing(
    room: Room, monkeypatch: pytest.MonkeyPatch, kind: str, says: str
) -> None:
    if kind == "hangs":
        monkeypatch.setattr(networks, "ADD_S", 2.0)
    with pytest.raises(NetworkFailed, match=says):
        room.add("makes", kind, "makes")
    assert room.is_empty()
    room.add("makes")


@pytest.mark.parametrize("point", fail_points.NETWORK_ADD + fail_points.NETWORK_DEL)
def test_whatever_died_in_an_add_or_del_is_unmade(room: Room, monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    monkeypatch.setattr(fail_points, "reached", dying_at(point))
    # what a process that died would not have done either
    monkeypatch.setattr(Networks, "_roll_back", lambda *_: None)
    with pytest.raises(Died):  # noqa: PT012  in whichever of the two the point is
        room.add("makes", "makes")
        room.networks.delete(KEY)
    monkeypatch.undo()
    room.start()
    room.networks.collect()
    assert room.is_empty() == (point != "NETWORKS noted")
    room.networks.delete(KEY)
    assert room.is_empty()


def dying_at(wanted: str) -> Callable[[str], None]:
    """What dies when that point is reached."""

    def reached(point: str) -> None:
        if point == wanted:
            raise Died

    return reached


def test_a_del_that_fails_is_remembered_and_done_when_the_plugin_lets_go(room: Room) -> None:
    room.add("makes", "makes", "makes")
    (room.root / "stuck").touch()
    with pytest.raises(NetworkFailed, match="net3 of default/makes: plugin makes: is stuck; net2 of"):
        room.networks.delete(KEY)
    room.start()
    room.networks.collect()
    assert room.there() == ["net1", "net2", "net3"]
    (told,) = room.networks.problems
    assert (str(told.name), told.field) == ("default/makes", "spec.config")
    assert told.text.startswith(
        "cannot be taken from a pod that is gone: net3 of default/makes: plugin makes: is stuck;"
    )
    (room.root / "stuck").unlink()
    room.networks.collect()
    assert (room.is_empty(), room.networks.problems) == (True, ())


def test_what_no_plugin_can_be_told_is_a_problem_and_others_are_unmade(room: Room) -> None:
    """Nobody asks for such a name any more; an earlier agent has noted it."""
    with pytest.raises(NetworkFailed, match="plugin makes: cannot be executed: embedded null byte"):
        room.networks.add(OWNER, [request("net1", "makes"), request("a\0b", "makes")], ())
    assert room.there() == []
    with pytest.raises(NetworkFailed, match="embedded null byte"):
        room.networks.delete(KEY)
    room.networks.collect()
    (told,) = room.networks.problems
    assert "embedded null byte" in told.text


def test_whatever_keeps_one_pod_from_going_the_thread_goes_on(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    room.add("makes")
    room.alive = False
    with monkeypatch.context() as patched:
        patched.setattr(Delegates, "delete", lambda *_: 1 / 0)
        room.networks.collect()
    (told,) = room.networks.problems
    assert "division by zero" in told.text
    room.networks.collect()
    assert (room.is_empty(), room.networks.problems) == (True, ())


def test_a_del_that_hangs_leaves_the_others_their_time(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "DEL_S", 8.0)
    room.add("makes", "makes")
    (room.root / "slow-net2").touch()
    with pytest.raises(NetworkFailed, match="net2 of default/makes: plugin makes: DEL is not done in time"):
        room.networks.delete(KEY)
    assert room.there() == ["net2"]
    (room.root / "slow-net2").unlink()
    room.networks.delete(KEY)
    assert room.is_empty()


def test_what_is_of_a_pod_that_is_gone_is_unmade_without_its_namespace(room: Room) -> None:
    room.add("makes")
    room.networks.collect()
    assert room.there() == ["net1"], "it lives"
    room.alive = False
    room.networks.collect()
    assert (room.is_empty(), room.called()) == (True, ["ADD net1 /n", "DEL net1 none"])


def test_a_request_that_is_older_than_the_pod_leaves_it(room: Room) -> None:
    room.add("makes")
    room.networks.delete(KEY, asked_at_ns=9)
    room.networks.leave(KEY, asked_at_ns=9)
    room.networks.collect()
    assert room.there() == ["net1"]
    room.networks.leave(KEY, asked_at_ns=11)
    assert room.there() == ["net1"], "nobody waits for it"
    room.networks.collect()
    assert room.is_empty()


def test_gc_keeps_what_it_names_and_other_configurations(room: Room) -> None:
    room.add("makes")
    assert room.networks.keep_only("sluiceway", frozenset({KEY}), None) == ()
    assert room.networks.keep_only("other", frozenset(), None) == ()
    assert room.there() == ["net1"]
    assert room.networks.keep_only("sluiceway", frozenset(), None) == ()
    assert room.is_empty()


# its GC goes on until it may end; what is added meanwhile it would take away
SWEEPS = """#!/bin/sh
case $CNI_COMMAND in
ADD)
    [ ! -e @/sweeping ] || exit 9
    : > @/begun-$CNI_CONTAINERID
    [ $CNI_CONTAINERID != c3 ] || sleep 0.3
    : > @/ended-$CNI_CONTAINERID
    echo '{"cniVersion": "1.1.0"}' ;;
GC)
    cat > @/told
    ls @ > @/seen
    : > @/sweeping
    while [ ! -e @/swept ]; do sleep 0.02; done
    rm @/sweeping ;;
esac
"""


def test_what_is_added_while_plugins_collect_waits_for_them_and_they_for_it(room: Room) -> None:
    path = room.root / "sweeps"
    path.write_text(SWEEPS.replace("@", str(room.root)))
    path.chmod(0o755)

    def add(container: str) -> object:
        wanted = [request("net1", "sweeps", "1.1.0")]
        return room.networks.add(msgspec.structs.replace(OWNER, container_id=container), wanted, ())

    def collect() -> tuple[str, ...]:
        return room.networks.keep_only("other", frozenset(), None)

    def await_file(name: str) -> None:
        until = time.monotonic() + 60
        while not (room.root / name).exists():
            assert time.monotonic() < until
            time.sleep(0.01)

    add("c1")
    with ThreadPoolExecutor() as pool:
        collecting = pool.submit(collect)
        await_file("sweeping")
        adding = pool.submit(add, "c2")
        with pytest.raises(TimeoutError):
            adding.result(0.2)
        (room.root / "swept").touch()
        adding.result(10)
        assert collecting.result(10) == ()
        adding = pool.submit(add, "c3")
        await_file("begun-c3")
        assert collect() == ()
        adding.result(10)
    assert "ended-c3" in (room.root / "seen").read_text()
    told = json.loads((room.root / "told").read_text())["cni.dev/valid-attachments"]
    assert [one["containerID"] for one in told] == ["c1", "c2", "c3"]


def test_a_gc_that_does_not_end_is_told_to_who_adds(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ADD_S", "UNDO_S"):
        monkeypatch.setattr(networks, name, 0.1)
    turn = room.delegates.turn
    with turn.to_collect("lan", time.monotonic()), pytest.raises(NetworkFailed, match="a GC of network lan goes on"):
        room.add("makes")
    room.networks.collect()
    assert room.is_empty()
    with turn.to_change("lan", time.monotonic()), pytest.raises(PluginFailed, match="lan is being changed; try again"):
        room.delegates.collect(request("net1", "makes", "1.1.0").plugins, tuple, time.monotonic())


def test_a_network_whose_plugin_cannot_serve_is_a_problem_until_it_can(room: Room) -> None:
    path = room.root / "serves"
    path.write_text("#!/bin/sh\n[ $CNI_COMMAND != STATUS ] || { echo no switch >&2; exit 50; }\n")
    path.chmod(0o755)
    room.add("makes", "serves")
    room.networks.look()
    assert not room.networks.problems, "before CNI 1.1.0 there is no STATUS"
    room.networks.delete(KEY)
    room.networks.add(OWNER, [request("net1", "serves", "1.1.0")], ())
    room.networks.look()
    (found,) = room.networks.problems
    said = "cannot serve now: plugin serves: it ended with status 50: no switch"
    assert (str(found.name), found.field, found.text) == ("default/serves", "spec.config", said)
    path.write_text("#!/bin/sh\n")
    room.networks.look()
    assert not room.networks.problems


def test_a_record_that_is_spoilt_is_passed_over(room: Room) -> None:
    room.add("makes")
    for path in (room.root / "networks").glob("*.json"):
        path.write_text("{")
    room.start()
    assert room.records.all() == ()
    room.networks.collect()


def test_a_plugin_that_hangs_keeps_what_it_began_from_nobody_else(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "ADD_S", 1.0)
    began = time.monotonic()
    with pytest.raises(NetworkFailed):
        room.add("hangs")
    assert time.monotonic() - began < 300, "what it began in the background holds its pipes, and is killed too"


@pytest.mark.parametrize(
    ("error", "lives"),
    [
        pytest.param(NoSuchNetns("/n: No such file or directory"), False, id="a namespace that is gone"),
        pytest.param(OSError(errno.EMFILE, "Too many open files"), True, id="one that cannot be looked at"),
    ],
)
def test_a_container_lives_until_its_namespace_is_seen_to_be_gone(
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    lives: bool,  # noqa: FBT001
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(networks, "open_netns", refuse)
    assert networks.is_alive(OWNER, "b", lambda _: None) is lives
