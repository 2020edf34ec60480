"""What a peer was goes with it while pods leave rule sets, and with nobody who has its address after it."""

from dataclasses import replace

import pytest

from agent.compile.atom import NOBODY, Atom, Past, Signature, as_before
from agent.compile.policy_state import Policies
from agent.model.address import Address
from agent.model.name import ObjectName
from agent.model.policy import PeerPod
from tests.agent.compile.test_policy import CLUSTER, DB, FROM_UI, UI, by_name, compiled, peer, pods, policy, settled

BEFORE = settled(CLUSTER)
WHERE = DB.ips[0]
# the policy that pods of the label db are meant by goes, so that its rule set is left
WITHOUT = replace(CLUSTER, policies=by_name(FROM_UI))


def pasts(of: Policies, where: Address = WHERE) -> list[Past]:
    found = of.peers.elsewhere.get(where, NOBODY)
    return [atom.meaning for atom in found if isinstance(atom.meaning, Past)]


def with_peer(*now: PeerPod) -> Policies:
    left = {name: one for name, one in CLUSTER.peers.items() if name != DB.name}
    return compiled(replace(WITHOUT, peers={**left, **{one.name: one for one in now}}), BEFORE)[0]


@pytest.mark.parametrize(
    ("now", "is_known"),
    [
        pytest.param(with_peer(peer("db", "10.0.1.1", app="ui")), True, id="it has another label"),
        pytest.param(with_peer(), True, id="it is gone, and nobody else has its address"),
        pytest.param(with_peer(peer("other", "10.0.1.1", app="ui")), False, id="another pod has its address"),
        pytest.param(with_peer(DB), False, id="it is who it was"),
    ],
)
def test_who_changes_is_who_it_was_for_rule_sets_that_are_left(now: Policies, is_known: bool) -> None:  # noqa: FBT001
    assert [past.signature for past in pasts(now)] == ([BEFORE.peers.elsewhere[WHERE]] if is_known else [])
    assert (WHERE in now.peers.changing) == is_known


def test_where_no_pod_leaves_a_rule_set_nobody_has_a_past() -> None:
    now, _ = compiled(replace(CLUSTER, peers={UI.name: UI, DB.name: peer("db", "10.0.1.1", app="ui")}), BEFORE)
    assert (pasts(now), now.peers.changing) == ([], frozenset())


def test_pasts_go_when_all_is_written() -> None:
    now = with_peer(peer("db", "10.0.1.1", app="ui"))
    met = {of: one for of, one in now.peers.inputs.peers.items() if isinstance(of, ObjectName)}
    done, _ = compiled(replace(WITHOUT, peers=met), now, settle=True)
    assert (pasts(done), done.peers.changing, dict(done.peers.pasts)) == ([], frozenset(), {})
    assert done.is_settled


def test_a_second_change_leaves_the_first_ones_rule_sets_at_what_was_before_it() -> None:
    first = with_peer(peer("db", "10.0.1.1", app="ui"))
    other = policy("api", pods(app="api"), (), None)
    cluster = replace(WITHOUT, policies=by_name(other), peers={DB.name: peer("db", "10.0.1.1", app="free")})
    second, _ = compiled(cluster, first)
    (ui,) = first.peers.elsewhere[WHERE] - {*first.peers.pasts.values()}
    assert {past.epoch: past.signature for past in pasts(second)} == {
        first.epoch: BEFORE.peers.elsewhere[WHERE],
        second.epoch: frozenset({ui}),
    }


def test_what_was_before_a_change_is_before_the_first_that_follows() -> None:
    some: list[Signature] = [frozenset({Atom(DB_PEER, bytes([at]))}) for at in range(3)]
    now = some[2] | {Atom(Past(epoch, some[at]), b"") for at, epoch in enumerate((3, 5))}
    assert [as_before(now, epoch) for epoch in (1, 3, 4, 5, 6)] == [some[0], some[0], some[1], some[1], now]


DB_PEER = pods(app="db")
