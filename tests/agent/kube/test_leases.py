"""Leases over HTTP: read, made, changed by one of two, and elections by them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.kube.client import TROUBLE, Client, Refused, connect
from agent.kube.leases import Election, Lease, Leases, Timing
from tests.agent.kube.lease_server import LEASES, LeaseServer, kubeconfig


class Clock:
    """One that a test moves."""

    def __init__(self, at: float) -> None:
        self.at = at

    def __call__(self) -> float:
        """Seconds."""
        return self.at


@pytest.fixture
def server() -> Iterator[LeaseServer]:
    server = LeaseServer()
    yield server
    server.stop()


@pytest.fixture
def client(server: LeaseServer, tmp_path: Path) -> Client:
    return Client(lambda: connect(kubeconfig(tmp_path, server.port)))


@pytest.fixture
def leases(client: Client) -> Leases:
    return Leases(client, timeout_s=3.0)


def test_a_lease_is_made_read_and_changed(server: LeaseServer, leases: Leases) -> None:
    assert leases.get("a") is None
    made = leases.put(Lease("a", "n1", 15.0, renewed="2026-01-01T00:00:00.000000Z"), metadata={"labels": {"l": "x"}})
    assert (made.holder, made.duration_s, made.revision) == ("n1", 15.0, "1")
    assert leases.get("a") == made
    changed = leases.put(Lease("a", "n2", 1.0, revision=made.revision, content=made.content))
    assert changed.holder == "n2"
    assert server.objects[f"{LEASES}/a"]["metadata"]["labels"] == {"l": "x"}
    assert leases.list("l=x") == (changed,)
    assert leases.list("l=y") == ()


def test_of_two_who_change_what_they_have_read_one_does(leases: Leases) -> None:
    made = leases.put(Lease("a", "n1", 15.0))
    leases.put(Lease("a", "n2", 15.0, revision=made.revision, content=made.content))
    with pytest.raises(Refused) as error:
        leases.put(Lease("a", "n3", 15.0, revision=made.revision, content=made.content))
    assert error.value.refusal.code == 409


def test_of_two_who_make_it_one_does(leases: Leases) -> None:
    leases.put(Lease("a", "n1", 15.0))
    with pytest.raises(Refused):
        leases.put(Lease("a", "n2", 15.0))


def test_the_api_server_is_told_how_long_a_request_may_take(server: LeaseServer, leases: Leases) -> None:
    leases.get("a")
    assert server.asked == [("GET", f"{LEASES}/a?timeout=3s")]


def test_times_that_do_not_keep_two_holders_apart_are_refused() -> None:
    with pytest.raises(ValueError, match="may outlast its lease"):
        Timing(lease_s=10.0, renew_s=8.0, request_s=3.0)


def test_a_holder_without_an_api_server_ends_before_its_lease_does(server: LeaseServer, leases: Leases) -> None:
    clock, other_clock = Clock(5.0), Clock(70000.0)
    first = Election(leases, "a", "one", clock=clock)
    second = Election(leases, "a", "two", clock=other_clock)
    first.step()
    second.step()
    assert (first.is_leader, second.is_leader) == (True, False)
    server.away.add("*")
    for _ in range(5):
        clock.at += 2.0
        first.step()
    assert first.trouble
    assert not first.is_leader
    server.away.clear()
    other_clock.at += 10.1
    second.step()
    assert not second.is_leader
    other_clock.at += 5.0
    second.step()
    assert second.is_leader
    clock.at += 5.1
    first.step()
    assert not first.is_leader


def test_a_renewal_counts_from_before_it_was_asked_for(leases: Leases, client: Client) -> None:
    """An answer that takes its time does not make the lease longer."""
    clock = Clock(0.0)
    election = Election(leases, "a", "one", clock=clock)
    election.step()

    class Slow(Leases):
        """Slow to answer."""

        def put(self, lease: Lease, **_: object) -> Lease:
            clock.at += 2.9
            return leases.put(lease)

    slow = Election(Slow(client, 3.0), "b", "one", clock=clock)
    slow.step()
    clock.at += 10.0 - 2.9
    assert not slow.is_leader


def test_no_answer_is_trouble_and_no_end(server: LeaseServer, leases: Leases) -> None:
    server.away.add("*")
    with pytest.raises(TROUBLE):
        leases.get("a")


@pytest.mark.parametrize("answer", [{}, {"kind": "Status", "status": "Failure"}, {"kind": "PodList", "items": []}])
def test_a_proxys_answer_says_nothing_of_leases(answer: object, server: LeaseServer, leases: Leases) -> None:
    held = leases.put(Lease("a", "n1", 15.0), metadata={"labels": {"l": "x"}})
    server.proxy = answer
    for ask in (lambda: leases.list("l=x"), lambda: leases.get("a"), lambda: leases.put(held)):
        with pytest.raises(Refused, match="no Lease"):
            ask()


def test_nobody_leads_by_what_a_proxy_answers(server: LeaseServer, leases: Leases) -> None:
    clock = Clock(0.0)
    election = Election(leases, "a", "one", clock=clock)
    server.proxy = {}
    election.step()
    assert not election.is_leader
    assert "no Lease" in election.trouble
    server.proxy = None
    clock.at += 5.0
    election.step()
    assert election.is_leader
