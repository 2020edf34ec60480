"""A rule set reads each peer's rules, resolves named ports at the right pod, and is packed whole."""

from ipaddress import ip_network
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.compile.atom import NOBODY, Atoms, PortPeer
from agent.compile.rule_set import Packer, Reader, RuleSet, blocks, policy_label, set_key
from agent.compile.verdict import Outcome, PortOutcome, Table
from agent.model.name import ObjectName
from agent.model.policy import (
    CidrPeer,
    ContainerPort,
    Direction,
    NamedPort,
    PodPeer,
    Policy,
    Rule,
    Tier,
    Verdict,
)
from agent.model.service import Protocol
from maps import abi

TCP, UDP = Protocol.TCP, Protocol.UDP
INGRESS, EGRESS = Direction.INGRESS, Direction.EGRESS
EVERYONE = PodPeer(namespace="x")
BLOCK = CidrPeer(ip_network("192.0.2.0/24"))
WEB, OTHER_WEB = ContainerPort("web", TCP, 80), ContainerPort("web", TCP, 8080)


def policy(name: str = "p", tier: Tier = Tier.NAMESPACE, priority: int = 0, **rules: tuple[Rule, ...] | None) -> Policy:
    return Policy(ObjectName("x", name), EVERYONE, rules.get("ingress"), rules.get("egress"), tier, priority)


@given(st.integers(0, 65535), st.integers(0, 65535))
def test_blocks_make_up_a_range_exactly(one: int, other: int) -> None:
    low, high = min(one, other), max(one, other)
    at = low
    for first, bits in blocks(low, high):
        size = 1 << 16 - bits
        assert first == at
        assert first % size == 0, "its ports share their first bits"
        at += size
    assert at == high + 1


@given(st.integers(0, 65535), st.integers(0, 65535))
def test_blocks_are_as_few_as_can_be(one: int, other: int) -> None:
    found = [*blocks(min(one, other), max(one, other))]
    assert len(found) <= 30
    for (first, bits), (second, also) in pairwise(found):
        assert bits != also or first >> 17 - bits != second >> 17 - bits, "the two would be one"


def test_a_set_is_that_of_the_policies_that_speak_of_the_direction_in_their_order() -> None:
    speaking = [
        policy("b", ingress=()),
        policy("base", Tier.BASELINE, ingress=(), egress=()),
        policy("a", ingress=(), egress=None),
        policy("late", Tier.ADMIN, 5, ingress=()),
        policy("early", Tier.ADMIN, 1, ingress=()),
        policy("silent", egress=()),
    ]
    found = set_key(INGRESS, speaking, ())
    assert found is not None
    assert [one.split("/")[-1] for one in found.policies] == ["early", "late", "a", "b", "base"]
    assert set_key(EGRESS, [policy("a", ingress=())], ()) is None


@pytest.mark.parametrize(
    ("direction", "ports", "same"),
    [
        pytest.param(
            INGRESS, [(WEB,), (OTHER_WEB,)], False, id="ingress: pods whose port of that name differs have another set"
        ),
        pytest.param(
            INGRESS,
            [(WEB,), (WEB, ContainerPort("dns", UDP, 53))],
            True,
            id="a port that no rule names counts for nothing",
        ),
        pytest.param(EGRESS, [(WEB,), (OTHER_WEB,)], True, id="egress: the subject's own ports count for nothing"),
    ],
)
def test_the_subject_s_named_ports_tell_sets_apart(
    direction: Direction,
    ports: list[tuple[ContainerPort, ...]],
    same: bool,  # noqa: FBT001
) -> None:
    rules = (Rule(ports=(NamedPort("web"),)),)
    one, other = (set_key(direction, [policy(ingress=rules, egress=rules)], each) for each in ports)
    assert (one == other) == same


def reader(
    direction: Direction, *policies: Policy, own: tuple[ContainerPort, ...] = (), named: tuple[PortPeer, ...] = ()
) -> tuple[Reader, Atoms]:
    """What reads the set of these policies, whose numbers count from 1."""
    key = set_key(direction, policies, own)
    assert key is not None
    by_label = {policy_label(one): one for one in policies}
    rules = RuleSet(key, tuple(by_label[label] for label in key.policies))
    atoms = Atoms().of([*rules.peers, *named])
    return Reader(rules, atoms, {label: at for at, label in enumerate(key.policies, 1)}), atoms


def test_a_named_port_is_the_subject_s_at_ingress() -> None:
    found, _ = reader(INGRESS, policy(ingress=(Rule(ports=(NamedPort("web", TCP),)),)), own=(OTHER_WEB,))
    assert found.table(NOBODY).ports == (PortOutcome(TCP, 8080, 8080, Outcome(accepts=True, policy=1)),)


def test_a_named_port_is_the_peer_s_at_egress() -> None:
    ports = PortPeer(WEB), PortPeer(OTHER_WEB), PortPeer(ContainerPort("dns", UDP, 53))
    found, atoms = reader(EGRESS, policy(egress=(Rule(ports=(NamedPort("web"),)),)), own=(WEB,), named=ports)
    web, other, dns = (atoms.by_meaning[one] for one in ports)
    assert found.table(frozenset({other})).ports == (PortOutcome(TCP, 8080, 8080, Outcome(accepts=True, policy=1)),)
    assert found.table(frozenset({web, dns})).ports == (PortOutcome(TCP, 80, 80, Outcome(accepts=True, policy=1)),)
    assert dns not in found.atoms


@pytest.mark.parametrize(
    ("port", "protocol", "is_found"),
    [
        pytest.param("web", None, True, id="any protocol"),
        pytest.param("web", TCP, True, id="its protocol"),
        pytest.param("web", UDP, False, id="another protocol"),
        pytest.param("dns", TCP, False, id="another name"),
    ],
)
def test_a_named_port_that_is_not_resolved_never_widens_the_rule(
    port: str,
    protocol: Protocol | None,
    is_found: bool,  # noqa: FBT001
) -> None:
    found, _ = reader(INGRESS, policy(ingress=(Rule(ports=(NamedPort(port, protocol),)),)), own=(WEB,))
    assert found.table(NOBODY).otherwise == Outcome(accepts=False, policy=1)
    assert bool(found.table(NOBODY).ports) == is_found


@pytest.mark.parametrize(
    ("rule", "accepts"),
    [
        pytest.param(Rule(), True, id="no peers, no ports: everybody, everything"),
        pytest.param(Rule(peers=()), False, id="peers of which none was understood: nobody"),
        pytest.param(Rule(ports=()), False, id="ports of which none was understood: nothing"),
        pytest.param(Rule(peers=(BLOCK,)), False, id="a peer that is another"),
    ],
)
def test_a_rule_means_no_more_than_it_says(rule: Rule, accepts: bool) -> None:  # noqa: FBT001
    found, _ = reader(INGRESS, policy(ingress=(rule,)))
    assert found.table(NOBODY).otherwise.accepts == accepts


def test_atoms_that_no_rule_of_the_set_names_change_nothing() -> None:
    found, atoms = reader(INGRESS, policy(ingress=(Rule(peers=(BLOCK,)),)))
    other = Atoms().of([EVERYONE]).by_meaning[EVERYONE]
    mine = atoms.by_meaning[BLOCK]
    assert found.table(frozenset({mine, other})) is found.table(frozenset({mine}))
    assert found.table(frozenset({mine})).otherwise == Outcome(accepts=True, policy=1)
    assert found.table(frozenset({other})) is found.table(NOBODY)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        pytest.param({"ingress": (Rule(),)}, {"ingress": (Rule(name="named"),)}, True, id="a rule's name"),
        pytest.param({"ingress": (Rule(),)}, {"ingress": (Rule(peers=(BLOCK,)),)}, False, id="peers"),
        pytest.param({"ingress": (Rule(),)}, {"ingress": (Rule(ports=()),)}, False, id="no ports for all"),
        pytest.param({"ingress": (Rule(),)}, {"ingress": (Rule(peers=()),)}, False, id="no peers for all"),
        pytest.param({"ingress": (Rule(),)}, {"ingress": (Rule(verdict=Verdict.DENY),)}, False, id="the verdict"),
        pytest.param({"ingress": ()}, {"ingress": (Rule(),)}, False, id="a rule more"),
        pytest.param({"ingress": (Rule(),)}, {"ingress": (Rule(),), "egress": ()}, True, id="the other direction"),
    ],
)
def test_a_set_s_digest_is_of_all_that_it_says(
    one: dict[str, Any],
    other: dict[str, Any],
    same: bool,  # noqa: FBT001
) -> None:
    keys = [set_key(INGRESS, [policy(**each)], ()) for each in (one, other)]
    found = [RuleSet(key, (policy(**each),)).digest for key, each in zip(keys, (one, other), strict=True) if key]
    assert (found[0] == found[1]) == same


def packed(said: Table) -> tuple[list[abi.Rule], dict[bytes, bytes]]:
    """A table's rule and its list of ports."""
    packer = Packer(5, 11)
    packer.add(3, said)
    records = packer.records(bytes(16))
    return [abi.Rule.unpack(one) for one in records.of_map("rules").values()], records.of_map("port_verdicts")


def ranges(count: int) -> Table:
    told = Outcome(accepts=True, policy=2)
    return Table(
        Outcome(accepts=False, policy=1), tuple(PortOutcome(TCP, 10 * at, 10 * at, told) for at in range(count))
    )


def test_seven_ranges_stand_in_the_rule_and_eight_in_a_list() -> None:
    (rule,), ports = packed(ranges(7))
    assert (rule.count, rule.port_list, ports) == (7, 0, {})
    (rule,), ports = packed(ranges(8))
    assert (rule.count, rule.port_list, len(ports)) == (0, 11, 8)
    assert {abi.PortVerdictKey.unpack(key).port_list for key in ports} == {11}
    assert (rule.policy, rule.verdict) == (1, abi.PolicyVerdict.POLICY_DENY)


def test_equal_lists_of_ports_are_one() -> None:
    packer = Packer(5, 11)
    for peer_class in (1, 2):
        packer.add(peer_class, ranges(9))
    assert packer.lists == 1
    packer.add(3, ranges(10))
    assert packer.lists == 2
