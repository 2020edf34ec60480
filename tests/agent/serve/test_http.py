"""Prometheus and the kubelet ask over HTTP; what they read is what the sources say at that moment."""

import contextlib
import errno
import http.client
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from agent.errors import ConfigError
from agent.serve.connections import MOST, WHOLE_S, Connections
from agent.serve.http import HttpServer, bound
from agent.serve.metrics import MapUse, Metrics, PartUse, PoolUse, Sources, SyncUse, WatchUse
from agent.threads import Threads
from maps import abi
from tests.agent.kernel.nets import in_new_netns


def sample(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


@pytest.fixture
def trouble() -> list[str]:
    return ["services: the first list has not come yet"]


@pytest.fixture
def threads() -> Threads:
    return Threads()


@pytest.fixture
def server(trouble: list[str], threads: Threads) -> Iterator[HttpServer]:
    made = HttpServer(
        bound(("127.0.0.1", 0)), Metrics().registry, threads, ready=lambda: ", ".join(trouble), alive=threads.trouble
    )
    made.start()
    yield made
    made.stop()


def get(server: HttpServer, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def test_the_agent_is_not_ready_and_says_why_until_it_is(server: HttpServer, trouble: list[str]) -> None:
    assert get(server, "/readyz") == (503, "services: the first list has not come yet\n")
    assert get(server, "/livez") == (200, "ok\n")
    trouble.clear()
    assert get(server, "/readyz?verbose") == (200, "ok\n")


def test_metrics_are_served_and_an_unknown_page_names_the_known(server: HttpServer) -> None:
    status, text = get(server, "/metrics")
    assert status == 200
    assert "sluiceway_sync_seconds_bucket" in text
    assert get(server, "/") == (404, "/metrics, /livez, /readyz\n")


def test_an_address_in_use_is_a_mistake_in_the_options(server: HttpServer) -> None:
    with pytest.raises(ConfigError, match="--listen"):
        bound(("127.0.0.1", server.port))


@pytest.mark.kernel
def test_every_address_is_of_both_families_whatever_the_node_has_by_default() -> None:
    def body() -> None:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        Path("/proc/sys/net/ipv6/bindv6only").write_text("1")
        with bound(("::", 0)) as made:
            made.listen()
            for address in ("127.0.0.1", "::1"):
                socket.create_connection((address, made.getsockname()[1]), timeout=60).close()

    in_new_netns(body)


def test_every_address_is_ipv4s_where_the_kernel_has_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with ipv6.disable=1."""

    def made(family: int, kind: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
        return socket.socket(family, kind)

    monkeypatch.setattr("agent.serve.http.socket", made)
    with bound(("::", 0)) as found:
        assert found.getsockname()[0] == "0.0.0.0"
    with pytest.raises(ConfigError, match="--listen: 2001:db8::1 port 9650: Address family not supported"):
        bound(("2001:db8::1", 9650))


def test_a_dead_thread_makes_the_agent_unfit_to_live(server: HttpServer, threads: Threads) -> None:
    thread = threads.make("reconcile", lambda: 1 // 0)  # type: ignore[arg-type]
    thread.start()
    thread.join(60)
    status, text = get(server, "/livez")
    assert status == 503
    assert text.startswith("thread reconcile died of ZeroDivisionError")


def test_hundreds_of_idle_connections_take_few_descriptors_and_hold_nobody_up(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.serve.connections.WHOLE_S", 1e6)  # none ends by itself
    with contextlib.ExitStack() as stack:
        idle = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port))) for _ in range(200)]
        assert get(server, "/livez") == (200, "ok\n")
        ended = 0
        for connection in idle:
            connection.settimeout(0.01)
            with contextlib.suppress(TimeoutError, ConnectionError):
                ended += connection.recv(1) == b""
        assert ended >= 200 - MOST


def test_a_byte_now_and_then_does_not_keep_a_connection() -> None:
    now = [0.0]
    connections = Connections(lambda: now[0])
    ours, theirs = socket.socketpair()
    with ours, theirs:
        connections.admit(ours)
        now[0] = WHOLE_S - 1
        theirs.send(b"G")
        connections.end_overdue()
        assert ours.recv(1) == b"G"
        now[0] = WHOLE_S
        connections.end_overdue()
        assert theirs.recv(1) == b"", "it was ended"


def test_a_request_that_has_come_is_spared_for_a_moment() -> None:
    now = [0.0]
    connections = Connections(lambda: now[0])
    pairs = [socket.socketpair() for _ in range(MOST + 1)]
    for ours, _ in pairs[:MOST]:
        connections.admit(ours)
        now[0] += 0.01
    connections.answering(pairs[0][0])
    connections.admit(pairs[MOST][0])
    ended = []
    for index, (ours, theirs) in enumerate(pairs):
        theirs.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            theirs.recv(1)
            ended.append(index)
        ours.close()
        theirs.close()
    assert ended == [1], "the one that lasts longest without having asked"


def test_packets_are_named_by_program_direction_and_reason() -> None:
    metrics = Metrics()
    place = abi.Program.PROGRAM_UPLINK * abi.Direction.DIRECTIONS + abi.Direction.DIRECTION_EGRESS
    base = place * abi.COUNTER_REASONS
    counters = [
        (base, abi.Counter(10, 1000)),
        (base + abi.DropReason.DROP_NO_BACKEND, abi.Counter(2, 120)),
        (base + abi.COUNTER_REASONS - 1, abi.Counter(9, 9)),  # no reason yet
    ]
    metrics.read_from(Sources(counters=lambda: counters))
    where = {"program": "uplink", "direction": "egress"}
    assert sample(metrics, "sluiceway_forwarded_packets_total", **where) == 10
    assert sample(metrics, "sluiceway_dropped_packets_total", **where, reason="no_backend") == 2
    assert sample(metrics, "sluiceway_dropped_bytes_total", **where, reason="no_backend") == 120


def test_every_source_has_its_metrics() -> None:
    metrics = Metrics()
    metrics.read_from(
        Sources(
            maps=lambda: [MapUse("services", 3, 100, 4096), MapUse("flows", None, 200, 8192)],
            sync=lambda: SyncUse(True, 1.5, 2, 4, 3, (PartUse("routes", False, 7),)),  # noqa: FBT003
            watches=lambda: [WatchUse("services", 0.5, 4), WatchUse("nodes", None, 9)],
            conntrack_gc=lambda: abi.GcRun(runs=5, expired=6, at_ns=0, flows=7, unanswered=1),
            attachments=lambda: 8,
            pools=lambda: [PoolUse("10.0.0.0/24", 8, 245)],
        )
    )
    metrics.observe_sync(0.003)
    metrics.observe_cni("ADD", 11, 0.01)
    assert sample(metrics, "sluiceway_map_entries", map="services") == 3
    assert sample(metrics, "sluiceway_map_entries", map="flows") is None
    assert sample(metrics, "sluiceway_map_capacity", map="flows") == 200
    assert sample(metrics, "sluiceway_map_bytes", map="flows") == 8192
    assert sample(metrics, "sluiceway_synced") == 1
    assert sample(metrics, "sluiceway_sync_age_seconds") == 1.5
    assert sample(metrics, "sluiceway_problems") == 2
    assert sample(metrics, "sluiceway_sync_failures_total") == 4
    assert sample(metrics, "sluiceway_drift_records_total") == 3
    assert sample(metrics, "sluiceway_part_ok", part="routes") == 0
    assert sample(metrics, "sluiceway_part_failures_total", part="routes") == 7
    assert sample(metrics, "sluiceway_watch_lag_seconds", resource="services") == 0.5
    assert sample(metrics, "sluiceway_watch_lag_seconds", resource="nodes") is None, "it was never connected"
    assert sample(metrics, "sluiceway_watch_restarts_total", resource="services") == 4
    assert sample(metrics, "sluiceway_watch_restarts_total", resource="nodes") == 9
    assert sample(metrics, "sluiceway_conntrack_flows") == 7
    assert sample(metrics, "sluiceway_conntrack_expired_total") == 6
    assert sample(metrics, "sluiceway_attachments") == 8
    assert sample(metrics, "sluiceway_addresses_free", cidr="10.0.0.0/24") == 245
    assert sample(metrics, "sluiceway_sync_seconds_count") == 1
    assert sample(metrics, "sluiceway_cni_requests_total", command="ADD", code="11") == 1


def test_a_source_that_fails_takes_no_other_metric_with_it() -> None:
    def broken() -> list[MapUse]:
        raise OSError(9, "the map was exchanged")

    metrics = Metrics()
    metrics.read_from(Sources(maps=broken, attachments=lambda: 3))
    generate_latest(metrics.registry)
    assert sample(metrics, "sluiceway_attachments") == 3
    assert sample(metrics, "sluiceway_scrape_failures_total") == 3, "each look is a scrape"
