"""Two device plugins on one node, as where one ends late: the newest has the node, and the older one stands aside."""

import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.devices import looker
from agent.devices.answers import Answers
from agent.devices.given import Given
from agent.devices.inventory import Inventory, Known
from agent.devices.kubelet.calls import PLUGINS
from agent.devices.kubelet.pod_resources import PodResources
from agent.devices.looker import NEWER, OLDER, Looker
from agent.devices.options import DeviceOptions
from agent.pods.pod_devices import SOCKET, Answer, Question, Unanswered, ask
from agent.threads import Threads
from tests.agent.devices.kubelet import PATIENCE_S, Kubelet
from tests.agent.devices.process import Plugin, Start, until, write
from tests.agent.devices.test_pools import VFS
from tests.agent.devices.tree import Tree

OLD, NEW = (
    {"resourceName": name, "resourcePrefix": "x.io", "selectors": {"drivers": ["vfio-pci"]}} for name in ("old", "new")
)
SLOTS = {"resourceName": "xsk", "resourcePrefix": "x.io", "deviceType": "afxdp", "count": 2}


def sockets(kubelet: Kubelet) -> list[str]:
    """Of device plugins of ours."""
    return sorted(path.name for path in (kubelet.folder / "device-plugins").glob("sluiceway-*.sock"))


def resources(plugin: Plugin) -> set[str]:
    """Those that the agent hears of."""
    return {state.resource for state in plugin.ask().states}


@pytest.mark.parametrize("ends", [signal.SIGTERM, signal.SIGKILL])
def test_the_newest_has_the_node_and_the_older_one_again_when_that_has_ended(
    tree: Tree, kubelet: Kubelet, start: Start, ends: signal.Signals
) -> None:
    """Their configurations differ, so that one device is of two resources."""
    tree.pf(driver="vfio-pci")
    old = start(OLD)
    first = kubelet.next_registration()
    assert until(lambda: old.ready() == "ok\n")
    with kubelet.dialled(first) as dialled:
        dialled.watch()
        assert dialled.next_health() == dict.fromkeys(VFS, "Healthy")
        new = start(NEW)
        second = kubelet.next_registration()
        assert (second.resource_name, sockets(kubelet)) == ("x.io/new", [second.endpoint])
        dialled.waits_for_end()
    assert until(lambda: new.ready() == "ok\n")
    for _ in range(5):
        kubelet.stir()
        assert (resources(new), old.ready().strip()) == ({"x.io/new"}, NEWER)
        assert "sluiceway_devices{" not in old.page("metrics")
    kubelet.stop()
    kubelet.start()  # it empties the folder
    again = kubelet.next_registration()
    assert (again.resource_name, sockets(kubelet)) == ("x.io/new", [again.endpoint])
    assert until(lambda: new.ready() == "ok\n")
    assert kubelet.registered.empty()
    new.process.send_signal(ends)
    new.process.wait(PATIENCE_S)
    kubelet.stir()
    assert kubelet.next_registration().resource_name == "x.io/old"
    assert until(lambda: resources(old) == {"x.io/old"})
    old.process.send_signal(signal.SIGTERM)
    assert old.process.wait(PATIENCE_S) == 0
    with pytest.raises(Unanswered):
        ask(old.run_dir, Question())


def test_an_older_one_that_ends_takes_nothing_of_the_newest_which_has_its_address_then(
    kubelet: Kubelet, start: Start
) -> None:
    old = start(SLOTS)
    kubelet.next_registration()
    assert until(lambda: old.ready() == "ok\n")
    new = start(SLOTS, beside=old)
    request = kubelet.next_registration()
    assert until(lambda: old.ready().strip() == NEWER), "the address is still the older one's"
    old.process.send_signal(signal.SIGTERM)
    assert old.process.wait(PATIENCE_S) == 0
    assert (sockets(kubelet), resources(new)) == ([request.endpoint], {"x.io/xsk"})
    assert until(lambda: new.ready() == "ok\n")
    with kubelet.dialled(request) as dialled:
        assert dialled.allocate("xsk-0").envs
    assert kubelet.registered.empty()


def test_a_newer_ones_cdi_files_are_left_alone(tree: Tree, kubelet: Kubelet, start: Start) -> None:
    tree.pf(driver="vfio-pci")
    old = start(OLD, flags=("--use-cdi=on",))
    kubelet.next_registration()
    assert until(lambda: old.ready() == "ok\n")
    new = start(NEW, flags=("--use-cdi=on",))
    kubelet.next_registration()
    assert until(lambda: new.ready() == "ok\n")
    for _ in range(3):
        kubelet.stir()
        assert old.ready().strip() == NEWER
        assert [path.name for path in new.cdi_dir.iterdir()] == ["sluiceway-x.io_new.json"]


@pytest.fixture
def run_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="devices-") as made:
        yield Path(made)


def test_one_that_does_not_let_go_is_waited_for_so_long_and_no_longer(
    run_dir: Path, tmp_path: Path, kubelet: Kubelet, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "config.json", SLOTS)
    options = DeviceOptions(
        config_file=tmp_path / "config.json", kubelet_dir=kubelet.folder, run_dir=run_dir, root=tmp_path
    )
    now = [100.0]
    monkeypatch.setattr(looker, "monotonic", lambda: now[0])
    inventory = Inventory()
    given = Given(PodResources(kubelet.folder), inventory)
    one = Looker(options, inventory, given, lambda *_: None, Threads(), lambda: True)
    with socket.socket(socket.AF_UNIX) as older:
        older.bind(str(kubelet.folder / PLUGINS / "sluiceway-0123456789ab-older-1.sock"))
        older.listen()
        try:
            for now[0] in (100.0, 109.9):
                one.look()
                assert (kubelet.registered.empty(), OLDER in one.waits_for()) == (True, True)
            now[0] = 110.0
            one.look()
            assert kubelet.next_registration().resource_name == "x.io/xsk"
            assert (one.waits_for(), len(sockets(kubelet))) == ("", 2), "nobody takes a living one's socket away"
        finally:
            one._serve(Known())  # noqa: SLF001  as at its end


def test_the_socket_for_answers_is_the_newest_ones_and_never_away(run_dir: Path) -> None:
    def answers(name: str) -> Answers:
        return Answers(run_dir, lambda _: Answer(error=name), Threads())

    older, newer = answers("older"), answers("newer")
    older.start()
    assert (older.keep(), ask(run_dir, Question()).error) == (True, "older")
    newer.start()
    assert (older.keep(), newer.keep(), ask(run_dir, Question()).error) == (False, True, "newer")
    older.stop()
    assert ask(run_dir, Question()).error == "newer"
    (run_dir / SOCKET).unlink()
    assert (newer.keep(), ask(run_dir, Question()).error) == (True, "newer")
    third = answers("third")
    third.start()
    third.stop()
    assert (newer.keep(), ask(run_dir, Question()).error) == (True, "newer")
    newer.stop()
    assert [*run_dir.iterdir()] == []
