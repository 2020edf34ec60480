"""An interface with AF_XDP, in the kernel: its veth, its program and its socket, made, taken over, and taken away."""

import errno
import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address
from itertools import count
from pathlib import Path

import pytest

from agent.compile.desired import Desired
from agent.errors import AgentError
from agent.kernel.device.afxdp import FOLDER, AfXdp, AfXdpPart
from agent.kernel.device.pod_folders import PodFolders
from agent.kernel.device.xdp_pod import XSKS_MAP
from agent.kernel.device.xsk_sockets import SOCKET
from agent.model import attachment as model
from agent.model.attachment import Attachment
from agent.netlink.netns import inside
from agent.pods.attachments import host_device
from agent.pods.veth import PodVeths
from agent.pods.veth_spec import MadeVeth, VethSpec
from agent.threads import Threads
from maps import libbpf, paths
from maps.abi import Steered
from maps.pins import held
from tests.agent.kernel.nets import in_new_netns

pytestmark = [pytest.mark.netns, pytest.mark.kernel]

POD, PLACE, QUEUES = f"swxsk{os.getpid()}", "pods/default/web.0/eth0", 4
OFFLOADS = {"tx-checksum-ip-generic", "tx-checksum-sctp", "tcp-segmentation-offload", "tx-udp-segmentation"}
OBJECT = paths.objects() / "xdp_pod.bpf.o"


@pytest.fixture
def pod() -> Iterator[str]:
    """The path of a pod's namespace."""
    subprocess.run(["ip", "netns", "add", POD], check=True)
    yield f"/run/netns/{POD}"
    subprocess.run(["ip", "netns", "del", POD], check=False)


@contextmanager
def agent(pins: Path, run_dir: Path) -> Iterator[tuple[PodVeths, AfXdp]]:
    """What of an agent has to do with it, for the calling thread's namespace; it dies at the block's end."""
    afxdp = AfXdp(lambda: OBJECT, pins, run_dir, Threads())
    try:
        yield PodVeths(tuple, lambda _: ((), ()), 9000, afxdp), afxdp
    finally:
        afxdp.stop()


def spec(pod: str, container: str = "c1") -> VethSpec:
    """An interface of a pod whose name has a dot, which bpffs takes in none."""
    asked = model.AfXdp(PLACE, QUEUES, (model.Captured(17, 7000, 7000),))
    return VethSpec(container, "eth0", pod, may_be_host=False, ipv4=IPv4Address("10.77.0.2"), ipv6=None, afxdp=asked)


def attached(pod: str, made: MadeVeth) -> Attachment:
    return Attachment("c1", "eth0", 1, 1, pod, made.netns_cookie, made.mac, made.link, IPv4Address("10.77.0.2"))


def features(device: str) -> dict[str, bool]:
    shown = subprocess.run(["ethtool", "-k", device], check=True, capture_output=True, text=True).stdout
    return {line.partition(":")[0].strip(): "on" in line.partition(":")[2].split()[:1] for line in shown.splitlines()}


def link(device: str) -> dict[str, object]:
    shown = subprocess.run(["ip", "-j", "-d", "link", "show", device], check=True, capture_output=True, text=True)
    found: dict[str, object] = json.loads(shown.stdout)[0]
    return found


def said(path: Path, pod: str, *messages: str) -> list[tuple[str, int]]:
    """What a process of the pod is answered, and with how many descriptors."""
    with inside(pod):
        asking = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with asking, ExitStack() as stack:
        asking.settimeout(20)
        folder = os.open(path.parent, os.O_PATH)  # as a pod's mount, for an address has 108 octets
        stack.callback(os.close, folder)
        asking.connect(f"/proc/self/fd/{folder}/{path.name}")
        answers = []
        for message in messages:
            asking.send(message.encode())
            text, descriptors, _, _ = socket.recv_fds(asking, 256, 4)
            answers.append((text.decode(), len(descriptors)))
            for each in descriptors:
                os.close(each)
        return answers


def map_id(path: Path) -> int:
    with held(path) as fd:
        return libbpf.map_info(fd).id


def test_the_device_is_one_that_sockets_can_have(pod: str, pin_root: Path, tmp_path: Path) -> None:
    def check() -> None:
        with agent(pin_root, tmp_path) as (veths, afxdp):
            made = veths.create(spec(pod))
            device = made.link.host_device
            assert (made.mtu, link(device)["mtu"]) == (3498, 3498), "a frame has no room for more"
            assert not OFFLOADS & {name for name, is_on in features(device).items() if is_on}
            with inside(pod):
                there = link("eth0")
                assert (there["num_rx_queues"], there["mtu"], there["xdp"]["mode"]) == (QUEUES, 3498, 1)  # type: ignore[index]
                for command in (["link", "set", "eth0", "xdp", "off"], ["link", "set", "eth0", "xdpdrv", "off"]):
                    subprocess.run(["ip", *command], check=False, capture_output=True)
                assert link("eth0")["xdp"], "a pod takes the program off"
            assert veths.faults(attached(pod, made)) == ()
            assert sum(afxdp.programs.packets(device).values()) == afxdp.programs.packets(device)[Steered.STEERED_STACK]

    in_new_netns(check)


def test_the_pod_alone_is_given_its_map(pod: str, pin_root: Path, tmp_path: Path) -> None:
    def check() -> None:
        with agent(pin_root, tmp_path) as (veths, _):
            veths.create(spec(pod))
            path = tmp_path / FOLDER / PLACE / SOCKET
            whole = ("/connect,any", "/version", "/xsk_map_fd,eth0", "/fin")
            for _again in range(2):  # a container starts again
                assert said(path, pod, *whole) == [("/host_ok", 0), ("0.1", 0), ("/fd_ack", 1), ("/fin_ack", 0)]
            assert said(path, pod, "/xsk_map_fd,eth1") == [("/fd_nak", 0)]
            assert said(path, f"/proc/{os.getpid()}/ns/net", "/connect,web-0") == [("/host_nak", 0)]
            assert said(path, f"/proc/{os.getpid()}/ns/net", "/xsk_map_fd,eth0") == [("/nak", 0)]

    in_new_netns(check)


def test_the_next_agent_takes_over_and_a_removal_leaves_nothing(pod: str, pin_root: Path, tmp_path: Path) -> None:
    shown, path = pin_root / FOLDER / PLACE.replace(".", "_") / XSKS_MAP, tmp_path / FOLDER / PLACE / SOCKET

    def check() -> None:
        with agent(pin_root, tmp_path) as (veths, _):
            made = veths.create(spec(pod))
        folder = pin_root / FOLDER / "interfaces" / made.link.host_device
        with held(folder / "link") as fd:
            before = libbpf.link_info(fd)
        sockets = map_id(shown)
        with agent(pin_root, tmp_path) as (veths, afxdp):
            part, one = AfXdpPart(afxdp), attached(pod, made)
            assert veths.faults(one), "nobody answers yet"
            list(part.apply(part.wanted(Desired(attachments={one.key: one}))))
            with held(folder / "link") as fd:
                after = libbpf.link_info(fd)
            assert (after.id, after.program_id != before.program_id) == (before.id, True), "the program is not renewed"
            assert (map_id(shown), map_id(folder / XSKS_MAP), veths.faults(one)) == (sockets, sockets, ())
            assert said(path, pod, "/xsk_map_fd,eth0") == [("/fd_ack", 1)]
            assert veths.remove(made.link.host_device)
            assert not list((tmp_path / FOLDER).iterdir())
            assert [each.name for each in (pin_root / FOLDER).iterdir()] == ["interfaces"]

    in_new_netns(check)


def test_of_a_pod_that_went_while_no_agent_ran_nothing_is_left(pod: str, pin_root: Path, tmp_path: Path) -> None:
    def check() -> None:
        with agent(pin_root, tmp_path) as (veths, _):
            made = veths.create(spec(pod))
        subprocess.run(["ip", "link", "del", made.link.host_device], check=True)
        with agent(pin_root, tmp_path) as (_, afxdp):
            part = AfXdpPart(afxdp)
            list(part.apply(part.wanted(Desired())))
            assert (afxdp.programs.all(), list((tmp_path / FOLDER).rglob(SOCKET))) == ((), [])

    in_new_netns(check)


def test_the_next_sandbox_of_a_pod_keeps_its_place_when_the_first_is_deleted_late(
    pod: str, pin_root: Path, tmp_path: Path
) -> None:
    def check() -> None:
        with ExitStack() as stack:
            veths, _ = stack.enter_context(agent(pin_root, tmp_path))
            first = veths.create(spec(pod))
            subprocess.run(["ip", "netns", "del", POD], check=True)
            subprocess.run(["ip", "netns", "add", POD], check=True)
            second = veths.create(spec(pod, "c2"))
            veths.remove(first.link.host_device)
            shown = pin_root / FOLDER / PLACE.replace(".", "_") / XSKS_MAP
            assert map_id(shown) == map_id(pin_root / FOLDER / "interfaces" / second.link.host_device / XSKS_MAP)
            assert said(tmp_path / FOLDER / PLACE / SOCKET, pod, "/xsk_map_fd,eth0") == [("/fd_ack", 1)]
            veths.remove(second.link.host_device)

    in_new_netns(check)


def test_a_start_that_undoes_the_first_sandbox_leaves_the_next_ones_folder(
    pod: str, pin_root: Path, tmp_path: Path
) -> None:
    """The folder is mounted in the pod: another one of the same name is not what it has."""

    def check() -> None:
        with agent(pin_root, tmp_path) as (veths, _):
            first = veths.create(spec(pod))
            subprocess.run(["ip", "netns", "del", POD], check=True)
            subprocess.run(["ip", "netns", "add", POD], check=True)
            second = veths.create(spec(pod, "c2"))
        with agent(pin_root, tmp_path) as (veths, _):
            veths.remove(first.link.host_device)
            assert (tmp_path / FOLDER / PLACE).is_dir()
            veths.remove(second.link.host_device)
            assert list((tmp_path / FOLDER).iterdir()) == []

    in_new_netns(check)


def test_what_a_pod_made_of_its_folders_keeps_no_del_from_its_end(pod: str, pin_root: Path, tmp_path: Path) -> None:
    """Folders in the place of the socket, and of the map, where the pod mounts that folder too."""
    shown, path = pin_root / FOLDER / PLACE.replace(".", "_") / XSKS_MAP, tmp_path / FOLDER / PLACE / SOCKET

    def check() -> None:
        with agent(pin_root, tmp_path) as (veths, afxdp):
            made = veths.create(spec(pod))
            for each in (path, shown):
                each.unlink()
                (each / "more").mkdir(parents=True)
            assert veths.remove(made.link.host_device)
            part = AfXdpPart(afxdp)
            list(part.apply(part.wanted(Desired())))
            assert not list((tmp_path / FOLDER).iterdir())
            assert [each.name for each in (pin_root / FOLDER).iterdir()] == ["interfaces"]

    in_new_netns(check)


def test_what_cannot_be_removed_of_a_pod_keeps_nobody_and_is_tried_again(
    pod: str, pin_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    def check() -> None:
        with agent(pin_root, tmp_path) as (veths, afxdp):
            device = veths.create(spec(pod)).link.host_device
            part = AfXdpPart(afxdp)
            with monkeypatch.context() as patch:
                patch.setattr(PodFolders, "leave", refuse)
                assert veths.remove(device), "DEL, or the start of an agent"
                with pytest.raises(AgentError, match=f"{device}: .*Operation not permitted"):
                    list(part.apply(part.wanted(Desired())))
            list(part.apply(part.wanted(Desired())))
            assert (afxdp.programs.all(), list((tmp_path / FOLDER).iterdir())) == ((), [])

    in_new_netns(check)


@pytest.mark.parametrize("is_removed", [False, True], ids=["ADD", "DEL"])
def test_whatever_an_agent_dies_at_the_next_leaves_nothing(
    pod: str, pin_root: Path, tmp_path: Path, *, is_removed: bool
) -> None:
    """Each change of a file or folder is the last in turn."""
    device = host_device("c1", "eth0")

    def make(veths: PodVeths) -> None:
        veths.create(spec(pod))

    def unmake(veths: PodVeths) -> None:
        veths.remove(device)

    def nothing(_veths: PodVeths) -> None:
        pass

    def check() -> None:
        begun, task = (make, unmake) if is_removed else (nothing, make)
        deaths = 0
        while dies(deaths, pin_root, tmp_path, begun, task):
            deaths += 1
            with agent(pin_root, tmp_path) as (following, _):
                unmake(following)
            left = [str(path) for root in (tmp_path / FOLDER, pin_root / FOLDER) for path in root.rglob("*")]
            assert left in ([], [str(pin_root / FOLDER / "interfaces")]), f"it died at change {deaths}"
        with agent(pin_root, tmp_path) as (following, _):
            unmake(following)
        assert deaths > 5

    in_new_netns(check)


def dies(
    after: int, pins: Path, run_dir: Path, begun: Callable[[PodVeths], None], task: Callable[[PodVeths], None]
) -> bool:
    """Whether an agent, in a process of its own, came to its death *after* so many changes of the task."""
    child = os.fork()
    if child == 0:
        try:
            with agent(pins, run_dir) as (veths, _):
                begun(veths)
                left = count(after, -1)

                def counted(change: Callable[..., object]) -> Callable[..., object]:
                    def changed(*args: object, **named: object) -> object:
                        if next(left) == 0:
                            os._exit(1)
                        return change(*args, **named)

                    return changed

                for name in ("mkdir", "rmdir", "unlink", "symlink", "rename"):
                    setattr(os, name, counted(getattr(os, name)))
                task(veths)
            os._exit(0)
        finally:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in {0, 1}, "the task failed"
    return code == 1
