"""Which devices keep packets until their time has come."""

import pytest

from agent.watch.node.qdisc import ROOT, Qdisc, paced

MQ, FIRST, SECOND = 0x8001_0000, 0x8001_0001, 0x8001_0002


def root(kind: str, ifindex: int = 2) -> Qdisc:
    return Qdisc(ifindex, 0x8001_0000, ROOT, kind)


@pytest.mark.parametrize(
    ("found", "those"),
    [
        pytest.param([], set(), id="nothing is known"),
        pytest.param([root("fq")], {2}, id="fq at the root"),
        pytest.param([root("fq_codel")], set(), id="fq_codel is another"),
        pytest.param([root("fq"), root("noqueue", 3)], {2}, id="each device for itself"),
        pytest.param([root("mq"), Qdisc(2, 0, FIRST, "fq"), Qdisc(2, 0, SECOND, "fq")], {2}, id="fq in every queue"),
        pytest.param([root("mq"), Qdisc(2, 0, FIRST, "fq"), Qdisc(2, 0, SECOND, "pfifo_fast")], set(), id="not in all"),
        pytest.param([root("mq")], set(), id="mq with nothing below"),
        pytest.param([root("fq"), Qdisc(2, 0xFFFF0000, 0xFFFFFFF1, "clsact")], {2}, id="clsact is no queue"),
        pytest.param([Qdisc(2, 0xFFFF0000, 0xFFFFFFF1, "clsact")], set(), id="and is none alone"),
    ],
)
def test_who_keeps_time(found: list[Qdisc], those: set[int]) -> None:
    assert paced(found) == those
