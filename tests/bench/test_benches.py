"""The benches run, on tiny numbers: what they count adds up, and what they make is gone again. Nothing is timed."""

import os
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from agent.options import mounts
from bench import (
    adds,
    connections,
    datapath,
    earlier,
    fastpath,
    forward,
    node,
    nodes,
    pods,
    policed_cluster,
    policy,
    policy_compile,
    probe,
    propagation,
    xdp,
)
from bench.governed import govern
from bench.plane import Plane
from bench.rules import rules
from bench.sets import Result, middle
from bench.stream import UDP, Packets
from bench.testbed import PREFIX
from maps import abi

NETNS = Path("/run/netns")


@pytest.fixture(autouse=True)
def cpus() -> Iterator[None]:
    """The process on the CPUs that it had; a bench keeps it to one."""
    had = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, had)


def left_behind() -> list[Path]:
    """Namespaces, pins and cgroups of this process's benches."""
    mine = f"{PREFIX}{os.getpid()}*"
    cgroup = mounts.cgroup2(mounts.MOUNTINFO.read_text())
    return [*NETNS.glob(mine), *nodes.BPFFS.glob(mine), *(cgroup.glob(mine) if cgroup else ())]


@pytest.mark.kernel
def test_datapath_measures_every_packet_with_every_number_of_services() -> None:
    results = datapath.measured(sets=1, services=(1, 3), new_flows=50, repeat=100)
    assert len([r for r in results if r.unit == "ns"]) == 5 * 2
    assert [r.what for r in results if r.at_most] == [
        f"{packet}, 3 services to 1" for packet in ("new flow", "established flow", "no service, established")
    ]


@pytest.mark.kernel
def test_policy_measures_packets_that_its_rules_let_pass() -> None:
    results = policy.measured(sets=1, policies=(0, 1, 3, 300), new_flows=300, repeat=300)
    assert len([r for r in results if r.unit == "ns"]) == 4 * 4
    assert len([r for r in results if r.at_most]) == 5


def test_policy_compile_measures_each_kind_of_change() -> None:
    results = policy_compile.measured(sets=1, policies=110, pods=300)
    assert len(results) == 9
    assert len([r for r in results if r.at_most]) == 5


@pytest.mark.kernel
@pytest.mark.netns
def test_propagation_waits_for_packets_that_are_judged_by_a_change() -> None:
    found = propagation.measured(changes=2)
    kinds = {name.rpartition(" ")[0] for name in found.changes}
    assert set(found.changes) == {f"{kind} {way}" for kind in kinds for way in ("allows", "denies")}
    assert len(kinds) == 5
    assert all(len(took) == 2 and min(took) > 0 for took in found.changes.values())
    assert 0 < found.none_mib < found.synced_mib
    assert not left_behind()


@pytest.mark.kernel
@pytest.mark.netns
def test_propagation_does_not_take_a_change_that_is_none_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(propagation, "OTHER_PORT", policed_cluster.PORT)
    monkeypatch.setattr(probe, "TIMEOUT_S", 2.0)
    with pytest.raises(SystemExit, match="datagrams go on to arrive"):
        propagation.measured(changes=1)
    assert not left_behind()


@pytest.mark.kernel
def test_datapath_does_not_believe_a_packet_that_went_another_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datapath, "TC_ACT_REDIRECT", 0)
    with pytest.raises(SystemExit, match="not this packet's way"):
        datapath.measured(sets=1, services=(1,), new_flows=10, repeat=10)


@pytest.mark.kernel
def test_a_table_of_another_size_is_measured_by_the_agents_own_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICEWAY_MAX_FLOWS", "6144")
    plane = Plane.load()
    assert plane.tables["flows"].max_entries == 6150  # a multiple of a bucket's
    plane.close()


@pytest.mark.kernel
@pytest.mark.netns
def test_forward_fires_each_load_by_each_way() -> None:
    loads = tuple(replace(load, count=min(load.count, 300), flows=min(load.flows, 300)) for load in forward.LOADS)
    results = forward.measured(sets=1, services=(1, 3), loads=loads)
    assert len([r for r in results if r.at_least]) == 3 * 3 + 4, "ours, and with policies, which are held to ours too"
    assert [r.at_most for r in results if r.at_most] == [load.earlier for load in loads for _ in range(2)]
    assert len([r for r in results if "nftables" in r.what]) == len(forward.LOADS) * 2
    assert not left_behind()


@pytest.mark.kernel
@pytest.mark.netns
def test_forward_compares_with_no_earlier_programs_where_there_is_no_history(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(earlier, "CACHE", tmp_path / "nothing")
    monkeypatch.setattr(earlier, "CHECKOUT", tmp_path)
    results = forward.measured(sets=1, services=(1,), loads=(replace(forward.LOADS[0], count=100),))
    assert not [r for r in results if r.at_most or earlier.COMMIT in r.what]
    assert [r for r in results if "ours 1 services, above the floor" in r.what]


@pytest.mark.kernel
@pytest.mark.netns
def test_forward_leaves_nothing_when_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "BACKEND_PORT", 9)
    with pytest.raises(SystemExit, match=r"not as expected|our programs counted"):
        forward.measured(sets=1, services=(1,), loads=(replace(forward.LOADS[0], count=100),))
    assert not left_behind()


@pytest.mark.kernel
@pytest.mark.netns
@pytest.mark.parametrize(
    ("slot", "reason"),
    [(1, abi.DropReason.DROP_POLICY_EGRESS), (2, abi.DropReason.DROP_POLICY_INGRESS)],
    ids=["the sender's policies", "the receiver's policies"],
)
def test_forward_is_judged_by_the_policies_of_both_pods(
    monkeypatch: pytest.MonkeyPatch, slot: int, reason: abi.DropReason
) -> None:
    def other_port(plane: Plane, policies: int, protocol: int, port: int) -> None:
        govern(plane, policies, protocol, port + 1)
        nothing = abi.PodPolicy(abi.RULES_NONE, abi.RULES_NONE, abi.PodPolicyFlag(0), 0)
        plane.tables["pod_policies"].update([(3 - slot, nothing)])

    monkeypatch.setattr(forward, "govern", other_port)
    load = replace(forward.LOADS[0], count=100)
    with pytest.raises(SystemExit, match=f"policies 1 services: our programs counted .*{reason.name}"):
        forward.measured(sets=1, services=(1,), loads=(load,))
    assert not left_behind()


@pytest.mark.kernel
@pytest.mark.netns
def test_connections_are_made_with_the_socket_hooks_and_without() -> None:
    results = connections.measured(sets=1, services=3, shot_ms=20)
    ours, governed = [connections.LIMIT] * 4, [connections.GOVERNED_LIMIT] * 2
    assert [r.at_least for r in results] == [None, None, *ours, None, None, *governed]
    assert not left_behind()


@pytest.mark.kernel
@pytest.mark.netns
def test_adds_are_made_one_at_a_time_and_at_once_by_us_and_the_peer() -> None:
    results = adds.measured(sets=1, pods=3, beside=2)
    assert [r.at_most for r in results[:5]] == [adds.ONE_LIMIT_MS, None, None, adds.MANY_LIMIT_MS, adds.SHIM_LIMIT_MS]
    assert all(r.value > 0 for r in results)
    assert len(results) == (11 if adds.PEER.exists() else 7)
    assert not left_behind()


@pytest.mark.kernel
@pytest.mark.netns
def test_adds_count_no_call_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "NODE", node.NODE.replace('10.244.0.0/16, "fd00:244::/64"', "10.244.0.0/31"))
    with pytest.raises(SystemExit, match=r"ADD by sluiceway-cni failed with 11.*used up"):
        adds.measured(sets=1, pods=3, beside=2)
    assert not left_behind()


@pytest.mark.parametrize(
    ("values", "share", "found"),
    [
        pytest.param([3.0, 1.0, 2.0], 0.5, 2.0, id="half of them are not above the middle one"),
        pytest.param([float(n) for n in range(1, 101)], 0.99, 99.0, id="one in a hundred may be above"),
        pytest.param([1.0, 9.0], 0.99, 9.0, id="of few the greatest"),
    ],
)
def test_a_share_of_the_calls_takes_no_longer(values: list[float], share: float, found: float) -> None:
    assert adds.share_below(values, share) == found


@pytest.mark.kernel
@pytest.mark.netns
def test_pods_talk_on_one_node_and_between_two_natively_and_encapsulated_and_by_a_wire() -> None:
    results = pods.measured(sets=1, modes=pods.MODES[:2], shots=1, shot_ms=5)
    assert len(results) == (1 + 2 * 2) * len(pods.KINDS) * len(pods.FAMILIES)
    assert all(r.value > 0 and r.at_least for r in results)
    assert not left_behind()


@pytest.mark.kernel
@pytest.mark.netns
def test_pods_leave_nothing_when_a_wire_carries_gso_packets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "WIRE", nodes.VETH)
    with pytest.raises(SystemExit, match="the network is no wire"):
        pods.measured(sets=1, modes=pods.MODES[:1], shots=1, shot_ms=20)
    assert not left_behind()


def test_a_stream_comes_by_all_its_flows_before_the_first_again() -> None:
    packets = Packets(IPv4Address("10.0.0.1"), bytes(6), IPv4Address("10.0.0.2"), 80, UDP, ports=60_000)
    step = packets.step(packets.ports)
    assert len({i * step % packets.ports for i in range(packets.ports)}) == packets.ports


def test_rules_have_one_way_for_each_service() -> None:
    text = "\n".join(rules(1_500, IPv4Address("10.244.1.3")))
    assert text.count("dnat to 10.244.1.3:8080") == text.count(": goto service-") == 1_500


@pytest.mark.parametrize(
    ("result", "met"),
    [
        pytest.param(Result("ratio", 0.9, "", at_least=0.9), True, id="a lower limit is met by itself"),
        pytest.param(Result("ratio", 0.89, "", at_least=0.9), False, id="below a lower limit is a miss"),
        pytest.param(Result("ratio", 1.16, "", at_most=1.15), False, id="above an upper limit is a miss"),
        pytest.param(Result("time", 1e9, "ns"), True, id="without a limit nothing is missed"),
    ],
)
def test_a_result_knows_whether_its_limit_is_met(result: Result, *, met: bool) -> None:
    assert result.is_met() is met
    assert ("MISSED" in str(result)) is not met


def test_the_middle_of_sets_is_their_median_with_quartiles() -> None:
    found = middle("ratio", [5.0, 1.0, 2.0, 4.0, 3.0])
    assert (found.value, found.quartiles) == (3.0, (2.0, 4.0))
    assert middle("ratio", [2.0]).value == 2.0


@pytest.mark.kernel
@pytest.mark.netns
def test_xdp_measures_packets_that_all_arrive_translated() -> None:
    results = xdp.measured(sets=1, count=3000, repeat=300, flows=300)
    assert len([r for r in results if r.unit == "pps"]) == 2 * 4
    assert len([r for r in results if r.at_most]) == 6
    assert all(r.value > 0 for r in results)
    assert not left_behind()


@pytest.mark.kernel
@pytest.mark.netns
def test_fastpath_sends_and_receives_by_each_way() -> None:
    results = fastpath.measured(sets=1, count=2000)
    rates = [each for each in results if each.unit == "/s"]
    assert [each.what for each in rates] == [
        f"{way}, {name}"
        for way in ("sent", "received")
        for name in (fastpath.PLAIN, fastpath.OURS, fastpath.GOVERNED, fastpath.SOCKET)
    ]
    assert all(each.value > 0 for each in rates), "an application was given nothing"
    assert [each.at_least for each in results if each.at_least] == [0.85, 2.0]
    assert not left_behind()


def test_forward_has_a_ratio_where_nothing_was_above_the_floor() -> None:
    """The clock counts nanoseconds, and a busy machine may give the floor as much as all of it."""
    load = forward.LOADS[0]
    ways = {forward.PLAIN: 900.0, forward.FLOOR: 300.0, forward.OURS: 500.0, forward.EARLIER: 300.0}
    found = forward.evaluated({(load, way): [ns] for way, ns in ways.items()})
    (one,) = (each for each in found if each.what.endswith("to earlier"))
    assert one.value == 200.0
