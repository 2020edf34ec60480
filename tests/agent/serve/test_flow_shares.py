"""Who is refused flows is a problem by its name, and a metric."""

from ipaddress import IPv4Address
from pathlib import Path

import pytest

from agent.model.attachment import Attachment, Veth
from agent.model.name import ObjectName
from agent.serve.flow_shares import LATELY_S, FlowShares, OwnerUse, owner_uses, share_families, share_problems
from maps.shares import Held, Shares

NONE = Held(0, 0, 0, None)
CALM = Held(50, 0, 0, None)


def attachment(slot: int, pod: str = "") -> Attachment:
    return Attachment(
        f"container-{slot}",
        "eth0",
        endpoint_id=slot + 40,
        slot=slot,
        netns=f"/run/netns/{slot}",
        netns_cookie=slot,
        mac="02:00:00:00:00:01",
        link=Veth(f"swp{slot}", 10 + slot),
        ipv4=IPv4Address(f"10.1.0.{slot}"),
        pod=ObjectName(*pod.split("/")) if pod else None,
    )


PODS = (attachment(1, "shop/web"), attachment(2, "shop/scanner"), attachment(3))


def shares(first: Held = CALM, second: Held = NONE, third: Held = NONE, *, outside: Held = NONE) -> Shares:
    return Shares(10_000, outside, NONE, {1: first, 2: second, 3: third})


@pytest.mark.parametrize(
    ("given", "named"),
    [
        pytest.param(shares(), [], id="nobody, while nothing is refused"),
        pytest.param(shares(second=Held(8000, 7, 0, 1.0)), ["Pod shop/scanner: flows: had its share"], id="a pod"),
        pytest.param(
            shares(second=Held(90, 0, 7, 1.0)), ["Pod shop/scanner: flows: found none"], id="one without a port left"
        ),
        pytest.param(
            shares(second=Held(90, 2, 7, 1.0)),
            ["Pod shop/scanner: flows: had its share", "Pod shop/scanner: flows: found none"],
            id="both",
        ),
        pytest.param(shares(second=Held(8000, 7, 0, LATELY_S + 1)), [], id="not when it is over"),
        pytest.param(
            shares(third=Held(8000, 7, 0, 1.0)), ["Pod container-3: flows: had its share"], id="one without a name"
        ),
        pytest.param(
            shares(outside=Held(8000, 7, 0, 1.0)), ["Node n1: flows from outside: had its share"], id="who is outside"
        ),
        pytest.param(
            Shares(10_000, NONE, Held(1, 7, 0, 1.0), {}), ["Node n1: flows of its processes: had"], id="the node"
        ),
    ],
)
def test_who_was_refused_flows_of_late_is_named(given: Shares, named: list[str]) -> None:
    problems = [str(problem) for problem in share_problems(given, PODS, "n1")]
    assert [text[: len(start)] for text, start in zip(problems, named, strict=True)] == named


def test_who_has_little_has_no_gauge() -> None:
    uses = list(owner_uses(shares(Held(99, 0, 0, None), Held(100, 7, 1, 1.0)), PODS))
    families = {family.name: family for family in share_families(uses)}
    entries = {sample.labels["owner"]: sample.value for sample in families["sluiceway_flow_share_entries"].samples}
    assert entries == {"outside": 0, "node": 0, "shop/scanner": 100}
    refused = {sample.labels["owner"]: sample.value for sample in families["sluiceway_flow_share_refused"].samples}
    assert refused == {"shop/scanner": 7}
    portless = {sample.labels["owner"]: sample.value for sample in families["sluiceway_flow_share_portless"].samples}
    assert portless == {"shop/scanner": 1}


def test_a_pod_that_is_not_in_the_maps_yet_has_nothing() -> None:
    uses = list(owner_uses(Shares(10_000, NONE, NONE, {1: CALM}), PODS))
    assert uses[2:] == [OwnerUse("shop/web", CALM, is_shown=False)]


def test_maps_that_are_not_there_are_no_problem(tmp_path: Path) -> None:
    found = FlowShares(tmp_path, "n1", lambda: PODS)
    assert found.problems() == ()
    assert list(found.uses()) == []
