"""docs/metrics.md lists what /metrics has."""

from collections.abc import Iterator
from pathlib import Path

from agent.bgp.keeper import BgpState
from agent.bgp.sessions import SessionState
from agent.ipam.lb_pool import AllocatorUse
from agent.serve.afxdp_metrics import AfXdpUse
from agent.serve.flow_shares import OwnerUse
from agent.serve.interface_metrics import InterfaceUse, Passed
from agent.serve.metrics import MapUse, Metrics, PartUse, PoolUse, Sources, SyncUse, WatchUse, XdpUse
from agent.serve.policy_metrics import PolicyCount, PolicyUse
from maps import abi
from maps.abi import Steered
from maps.shares import Held

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"


def families() -> Iterator[tuple[str, str, str, str]]:
    """Every family of ours: its name as it is scraped, what it says, its kind and labels."""
    metrics = Metrics()
    metrics.read_from(
        Sources(
            maps=lambda: [MapUse("services", 3, 100, 4096)],
            sync=lambda: SyncUse(True, 1.5, 2, 4, 3, (PartUse("routes", False, 7),)),  # noqa: FBT003
            watches=lambda: [WatchUse("services", 0.5, 4)],
            counters=lambda: [(0, abi.Counter(1, 1)), (1, abi.Counter(1, 1))],
            conntrack_gc=lambda: abi.GcRun(runs=5, expired=6, at_ns=0, flows=7, unanswered=1),
            pools=lambda: [PoolUse("10.0.0.0/24", 8, 245)],
            afxdp=lambda: [AfXdpUse("a/b", "eth0", {Steered.STEERED_SOCKET: 1})],
            interfaces=lambda: [InterfaceUse("a/b", "net1", "sriov", Passed(1, 2, 3), Passed(4, 5, 6))],
            network_changes=lambda: {("added", "done"): 1},
            xdp=lambda: [XdpUse("eth0", "native")],
            policy=lambda: PolicyUse((PolicyCount("NetworkPolicy a/b", "ingress", abi.PolicyCounter(1, 1, 1)),)),
            allocator=lambda: AllocatorUse(is_leader=True, waiting=1, pools={"edge": (8, 2)}),
            bgp=lambda: BgpState(is_running=True, sessions=(SessionState("peer_a", "Established", bfd="Up"),)),
            shares=lambda: [OwnerUse("a/b", Held(7, 6, 5, 0.1), is_shown=True)],
        )
    )
    metrics.observe_cni("ADD", 0, 0.01)
    for family in metrics.registry.collect():
        if family.name.startswith("sluiceway_"):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            labels = sorted({label for one in family.samples for label in one.labels} - {"le"})
            yield name, family.documentation, family.type, ", ".join(labels)


def test_the_page_has_every_metric_with_its_labels() -> None:
    page = PAGE.read_text()
    for name, text, kind, labels in families():
        assert f"| `{name}` | {kind} | {labels} | {text} |" in page
    assert page.count("| `sluiceway_") == len([*families()])
