"""The thread: the latest Cluster wins, a pod goes first, a failure is tried again."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from threading import Event, Thread

import pytest

from agent.errors import AgentError
from agent.log import TextFormatter
from agent.model.attachment import HostPort
from agent.model.local import Local
from agent.model.service import Protocol
from agent.reconcile.loop import Loop, LoopStopped
from agent.reconcile.timetable import QUIET_NS
from maps.errors import MapFull
from tests.agent.compile.objects import HERE, SETTINGS, attachment, cluster, endpoint, piece, service
from tests.agent.reconcile.kernels import MemoryKernel, Stopped


@pytest.fixture
def kernel() -> MemoryKernel:
    return MemoryKernel()


@pytest.fixture
def loop(kernel: MemoryKernel) -> Iterator[Loop]:
    loop = Loop(kernel.dataplane, SETTINGS)
    loop.start()
    yield loop
    loop.stop()


def eventually(question: Callable[[], object]) -> None:
    """Wait for another thread; an answer that never comes fails the test by its timeout."""
    while not question():
        time.sleep(0.001)


class _Call:
    """A call on a thread of its own; what it raised comes with the result."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._future = self._pool.submit(call)

    def result(self) -> object:
        self._pool.shutdown()
        return self._future.result()


def more_syncs(loop: Loop, than: int) -> Callable[[], bool]:
    return lambda: loop.status().syncs > than


def test_a_cluster_that_is_offered_reaches_the_maps(loop: Loop, kernel: MemoryKernel) -> None:
    loop.offer(cluster(service(), piece("web", endpoint("10.0.0.1"))))
    eventually(lambda: loop.status().synced)
    assert len(kernel.held("backends")) == 1
    assert (loop.status().services, loop.status().error, loop.status().revision) == (1, "", 1)


def test_every_sync_is_observed_however_quickly_they_follow(kernel: MemoryKernel) -> None:
    observed: list[float] = []
    loop = Loop(kernel.dataplane, SETTINGS, on_sync=observed.append)
    loop.start()
    for number in range(1, 6):
        loop.offer(cluster(service(), piece("web", endpoint(f"10.0.0.{number}"))))
        eventually(more_syncs(loop, number - 1))
    loop.stop()
    assert len(observed) == loop.status().syncs
    assert all(0 < seconds < 10 for seconds in observed)


def test_an_unsynced_cluster_does_not_make_the_loop_synced(loop: Loop) -> None:
    loop.offer(cluster(synced=False))
    eventually(lambda: loop.status().syncs)
    assert not loop.status().synced


def test_who_waits_for_the_first_sync_goes_on_when_it_is_written(loop: Loop, kernel: MemoryKernel) -> None:
    loop.offer(cluster(service(), synced=False))
    assert not loop.wait_synced(0.0)
    waiting = _Call(lambda: loop.wait_synced(1e6))
    loop.offer(cluster(service(), piece("web", endpoint("10.0.0.1"))))
    assert waiting.result() is True
    assert len(kernel.held("backends")) == 1


def test_who_waits_for_the_first_sync_goes_when_the_agent_ends(loop: Loop) -> None:
    waiting = _Call(lambda: loop.wait_synced(1e6))
    loop.stop()
    with pytest.raises(LoopStopped, match="the agent is ending"):
        waiting.result()


def test_attach_returns_when_the_kernel_has_it(loop: Loop, kernel: MemoryKernel) -> None:
    loop.attach(attachment())
    assert len(kernel.held("pod_netns")) == 1


def test_a_cluster_from_before_does_not_take_an_attachment_away(loop: Loop, kernel: MemoryKernel) -> None:
    loop.attach(attachment())
    loop.offer(cluster())
    eventually(lambda: loop.status().synced)
    assert len(kernel.held("pod_netns")) == 1


def test_detach_returns_when_the_kernel_has_forgotten_it(loop: Loop, kernel: MemoryKernel) -> None:
    loop.attach(attachment())
    loop.detach(attachment())
    assert kernel.held("pod_netns") == {}
    assert loop.attachments() == ()


def test_attachments_that_live_are_adopted(kernel: MemoryKernel) -> None:
    loop = Loop(kernel.dataplane, SETTINGS)
    loop.adopt((attachment(),))
    loop.start()
    loop.offer(cluster())
    eventually(lambda: loop.status().synced)
    loop.stop()
    assert len(kernel.held("pod_netns")) == 1
    assert loop.attachments() == (attachment(),)


def test_detaching_what_is_unknown_is_no_error(loop: Loop) -> None:
    loop.detach(attachment())


def test_an_attachment_that_does_not_fit_is_the_callers_error() -> None:
    loop = Loop(MemoryKernel(endpoints=3).dataplane, SETTINGS)
    loop.start()
    loop.attach(attachment())
    with pytest.raises(MapFull, match="--max-endpoints"):
        loop.attach(attachment("10.0.0.6", 8, 13))
    loop.stop()


def test_a_pod_does_not_wait_for_a_long_sync(kernel: MemoryKernel) -> None:
    loop, inside, go = Loop(kernel.dataplane, SETTINGS), Event(), Event()
    burn = kernel.fuse.burn

    def slow(name: str, what: str) -> None:
        if name == "maglevs":
            inside.set()
            go.wait()
        burn(name, what)

    kernel.fuse.burn = slow  # type: ignore[method-assign]
    loop.start()
    loop.offer(cluster(service(), piece("web", endpoint("10.0.0.1"))))
    inside.wait()
    waiting = Thread(target=loop.attach, args=(attachment(),))
    waiting.start()
    go.set()
    waiting.join()
    eventually(lambda: loop.status().synced)
    loop.stop()
    order = [table for table, _ in kernel.fuse.writes]
    assert order.index("pod_netns") < order.index("services")


@dataclass
class Stuck:
    """A part's piece that waits, as for the kernel's rtnl lock."""

    inside: Event = field(default_factory=Event)
    go: Event = field(default_factory=Event)

    def apply(self, _: object) -> Iterator[None]:
        """Wait."""
        self.inside.set()
        self.go.wait()
        yield


@pytest.fixture
def stuck(kernel: MemoryKernel, loop: Loop, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stuck]:
    """A loop that is synced, and whose uplinks wait; they let go in the end."""
    loop.offer(cluster(service(), piece("web", endpoint("10.0.0.1"))))
    eventually(lambda: loop.status().synced)
    made = Stuck()
    monkeypatch.setattr(kernel.uplinks, "apply", made.apply)
    loop.resync_watched()
    made.inside.wait()
    yield made
    made.go.set()


def test_maps_do_not_wait_for_devices(loop: Loop, kernel: MemoryKernel, stuck: Stuck) -> None:
    before = loop.status().syncs
    loop.offer(cluster(service(), piece("web", endpoint("10.0.0.1"), endpoint("10.0.0.2"))))
    eventually(lambda: len(kernel.held("backends")) == 2)
    loop.attach(attachment())
    assert len(kernel.held("pod_netns")) == 1
    eventually(lambda: loop.pending_s() == 0)
    assert loop.status().syncs == before
    stuck.go.set()
    eventually(more_syncs(loop, before + 1))
    assert kernel.pods.last == {12: "swp0123456789"}, "parts follow what came meanwhile"


def test_the_first_sync_is_done_when_vital_parts_are(kernel: MemoryKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    made, loop = Stuck(), Loop(kernel.dataplane, SETTINGS)
    monkeypatch.setattr(kernel.pods, "apply", made.apply)
    loop.start()
    loop.attach(attachment())
    loop.offer(cluster(synced=False))
    made.inside.wait()
    loop.offer(cluster(service(), piece("web", endpoint("10.0.0.1"))))
    eventually(lambda: kernel.held("backends"))
    assert not loop.wait_synced(0.0)
    made.go.set()
    eventually(lambda: loop.status().synced)
    assert kernel.uplinks.applied
    loop.stop()


def test_the_end_waits_for_a_piece_that_is_under_way(loop: Loop, stuck: Stuck) -> None:
    ending = Thread(target=loop.stop)
    ending.start()
    ending.join(0.05)
    assert ending.is_alive()
    stuck.go.set()
    ending.join()


def test_what_failed_is_tried_again(loop: Loop, kernel: MemoryKernel) -> None:
    kernel.fuse.left = 1
    loop.offer(cluster(service(), piece("web", endpoint("10.0.0.1"))))
    eventually(lambda: loop.status().failures)
    assert loop.status().error in kernel.tables
    kernel.fuse.left = None
    eventually(lambda: loop.status().synced and not loop.status().error)


def test_hooks_are_kept_although_services_fail(kernel: MemoryKernel) -> None:
    kernel = MemoryKernel(backends=1)
    loop = Loop(kernel.dataplane, SETTINGS)
    loop.start()
    many = piece("web", endpoint("10.0.0.1"), endpoint("10.0.0.2"))
    loop.attach(attachment())
    loop.offer(cluster(service(), many))
    eventually(lambda: loop.status().failures)
    loop.stop()
    assert kernel.pods.last == {12: "swp0123456789"}
    assert "--max-backends" in loop.status().error


def test_a_route_that_is_refused_is_told_and_does_not_keep_the_node_from_being_ready(
    loop: Loop, kernel: MemoryKernel
) -> None:
    kernel.routes.refusal = Stopped("no way to 10.2.0.0/24")
    loop.offer(cluster())
    eventually(lambda: loop.status().failures > 1)
    status = loop.status()
    assert status.synced
    assert status.error == "no way to 10.2.0.0/24"
    assert [(one.name, one.error) for one in status.parts if one.error] == [("routes", "no way to 10.2.0.0/24")]


def test_a_part_that_failed_is_tried_again_by_itself(loop: Loop, kernel: MemoryKernel) -> None:
    kernel.routes.refusal = Stopped("not now")
    loop.offer(cluster())
    eventually(lambda: loop.status().failures)
    others = len(kernel.uplinks.applied)
    kernel.routes.refusal = None
    eventually(lambda: not loop.status().error)
    assert kernel.routes.applied
    assert len(kernel.uplinks.applied) == others


def test_a_kernel_that_refuses_adoption_is_asked_again(kernel: MemoryKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([Stopped("not now")])

    def shy() -> Iterator[tuple[bytes, bytes]]:
        for error in answers:
            raise error
        return iter(())

    monkeypatch.setattr(kernel.tables["backend_sets"], "packed_items", shy)
    loop = Loop(kernel.dataplane, SETTINGS)
    loop.start()
    loop.attach(attachment())
    assert loop.status().failures == 1
    loop.stop()


def test_what_can_wait_is_done_when_no_pod_has_come_for_a_while() -> None:
    kernel, now = MemoryKernel(), [0]
    loop = Loop(kernel.dataplane, SETTINGS, clock=lambda: now[0])
    loop.start()
    pods = attachment(), attachment("10.0.0.6", 8, 13, netns_cookie=4343)
    loop.attach(pods[0])
    kernel.deferred.waiting = [12, 13]
    loop.offer(cluster())
    eventually(lambda: loop.status().synced)
    now[0] = QUIET_NS - 1
    loop.attach(pods[1])
    now[0] = QUIET_NS
    loop.attach(pods[1])
    assert kernel.deferred.done == []
    now[0] = 3 * QUIET_NS
    loop.resync_watched()
    eventually(lambda: kernel.deferred.done == [12, 13])
    loop.stop()


def test_what_can_wait_and_is_refused_is_no_failure_of_a_round(kernel: MemoryKernel) -> None:
    now = [0]
    kernel.deferred.refusal = AgentError("no")
    loop = Loop(kernel.dataplane, SETTINGS, clock=lambda: now[0])
    loop.start()
    kernel.deferred.waiting = [12]
    loop.offer(cluster())
    eventually(lambda: loop.status().synced)
    now[0] = 2 * QUIET_NS
    loop.resync_watched()
    eventually(lambda: kernel.deferred.done)
    loop.attach(attachment())
    assert (loop.status().failures, kernel.deferred.done) == (0, [12])
    loop.stop()


def test_an_attachment_after_the_end_is_refused(loop: Loop) -> None:
    loop.stop()
    with pytest.raises(LoopStopped):
        loop.attach(attachment())


def test_problems_reach_the_status(loop: Loop) -> None:
    loop.offer(cluster(service("a"), service("b")))
    eventually(lambda: loop.status().synced)
    assert [str(problem.name) for problem in loop.status().problems] == ["default/b"]


def test_a_problem_is_said_once_while_it_lasts(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    without_ports = Local(netns_cookie=1, port_range=(1024, 65535))
    for count in (1, 2, 3):
        before = loop.status().syncs
        loop.offer(cluster(*(service(f"s{i}", ip=f"10.96.0.{i}") for i in range(1, count + 1)), local=without_ports))
        eventually(more_syncs(loop, before))
    said = (TextFormatter().format(record) for record in caplog.records)
    told = [line for line in said if "ip_local_port_range" in line]
    assert len(told) == 1, told
    assert f"Node {HERE}: net.ipv4.ip_local_port_range: leaves no port" in told[0]


def test_a_resync_counts_drift() -> None:
    kernel, now = MemoryKernel(), [0]
    loop = Loop(kernel.dataplane, SETTINGS, clock=lambda: now[0])
    loop.start()
    first = cluster(service(), piece("web", endpoint("10.0.0.1")))
    loop.offer(first)
    eventually(lambda: loop.status().synced)
    kernel.tables["backends"].delete(list(kernel.held("backends")))
    now[0] = 10**12
    loop.offer(replace(first))
    eventually(lambda: loop.status().drift)
    assert loop.status().drift == 1
    assert len(kernel.held("backends")) == 1
    loop.stop()


def test_a_host_port_is_served_when_attach_returns_and_gone_when_detach_does(loop: Loop, kernel: MemoryKernel) -> None:
    loop.offer(cluster())
    eventually(lambda: loop.status().synced)
    pod = attachment(host_ports=(HostPort("", 8080, Protocol.TCP, 80),))
    loop.attach(pod)
    assert {str(key.addr.ipv4_mapped) for key in kernel.held("services")} == {"192.0.2.1", "127.0.0.1"}
    loop.detach(pod)
    assert (kernel.held("services"), kernel.held("backends")) == ({}, {})


def test_a_host_port_that_does_not_fit_is_the_callers_error() -> None:
    loop = Loop(MemoryKernel(services=2).dataplane, SETTINGS)
    loop.start()
    loop.offer(cluster())
    eventually(lambda: loop.status().synced)
    with pytest.raises(MapFull, match="--max-services"):
        loop.attach(attachment(host_ports=(HostPort("", 8080, Protocol.TCP, 80),)))
    loop.stop()


def test_a_host_port_does_not_wait_for_the_first_sync(loop: Loop, kernel: MemoryKernel) -> None:
    loop.attach(attachment(host_ports=(HostPort("", 8080, Protocol.TCP, 80),)))
    assert len(kernel.held("pod_netns")) == 1
