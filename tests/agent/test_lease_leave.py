"""An agent that leaves for good gives back its node's Leases and nobody else's, and waits for no API server."""

import time
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from agent import lease_leave
from agent.announce import leave as announce
from agent.announce.announcer import LABEL, VALUE, lease_name
from agent.announce.liveness import Liveness
from agent.ipam.lb_allocator import LEASE
from agent.kube.leases import Election, Lease, Leases, give_back, identity
from agent.lease_leave import leave_leases
from agent.options.config import Options
from tests.agent.kube.lease_server import LEASES, LeaseServer, kubeconfig
from tests.agent.kube.test_leases import client, leases, server

__all__ = ["client", "leases", "server"]


@pytest.fixture
def options(server: LeaseServer, tmp_path: Path) -> Options:
    return Options(node_name="n1", kubeconfig=kubeconfig(tmp_path, server.port), loadbalancer_pools=True)


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found: list[float] = []
    monkeypatch.setattr(time, "sleep", found.append)
    return found


def announced_by(leases: Leases, *nodes: str) -> None:
    for node in nodes:
        leases.put(Lease(lease_name(node), node, 2.0), metadata={"labels": {LABEL: VALUE}})


def spec(server: LeaseServer, name: str) -> dict[str, Any]:
    found: dict[str, Any] = server.objects[f"{LEASES}/{name}"]["spec"]
    return found


def test_who_announces_is_gone_for_the_others_with_their_next_look(leases: Leases, slept: list[float]) -> None:
    announced_by(leases, "n1", "n2")
    label, others = f"{LABEL}={VALUE}", Liveness()
    assert others.look(leases.list(label), 0.0, 0.0) == {"n1", "n2"}
    announce.leave(leases, "n1")
    assert others.look(leases.list(label), 0.1, 0.1) == {"n2"}
    assert slept == [announce.FOLLOWED_S]


def test_a_lease_is_given_back_as_client_go_does(server: LeaseServer, leases: Leases) -> None:
    announced_by(leases, "n1")
    announce.leave(leases, "n1")
    found = spec(server, lease_name("n1"))
    assert (found["holderIdentity"], found["leaseDurationSeconds"]) == ("", 1)
    assert server.objects[f"{LEASES}/{lease_name('n1')}"]["metadata"]["labels"] == {LABEL: VALUE}


def test_nobody_is_waited_for_where_no_other_node_announces(leases: Leases, slept: list[float]) -> None:
    announced_by(leases, "n1", "n2")
    announce.leave(leases, "n2")
    slept.clear()
    announce.leave(leases, "n1")
    assert slept == []


def test_what_another_has_taken_meanwhile_is_not_given_away(leases: Leases, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by the last request of an agent that was killed: compared by revision, then read again."""
    read = leases.get
    held = leases.put(Lease("a", "n1", 15.0))

    def overtaken(by: str) -> Callable[[str], Lease | None]:
        def get(name: str) -> Lease | None:
            found = read(name)
            monkeypatch.setattr(leases, "get", read)
            assert found is not None
            leases.put(Lease(name, by, 15.0, revision=found.revision, content=found.content))
            return found

        return get

    monkeypatch.setattr(leases, "get", overtaken(by="n2"))
    assert not give_back(leases, held.name, lambda holder: holder == "n1")
    found = read("a")
    assert found is not None
    assert found.holder == "n2"
    leases.put(Lease("a", "n1", 15.0, revision=found.revision, content=found.content))
    monkeypatch.setattr(leases, "get", overtaken(by="n1"))
    assert give_back(leases, held.name, lambda holder: holder == "n1")


def test_who_was_killed_while_it_allocated_is_followed_once_nothing_of_it_is_under_way(
    server: LeaseServer, leases: Leases, options: Options, slept: list[float]
) -> None:
    killed = Election(leases, LEASE, identity("n1"))
    killed.step()
    leave_leases(options, ())
    assert slept == [killed.timing.request_s]
    assert spec(server, LEASE)["holderIdentity"] == ""
    other = Election(leases, LEASE, identity("n2"))
    other.step()
    assert other.is_leader


@pytest.mark.parametrize("node", ["n2", "n", "n1.example"])
def test_another_nodes_allocation_stays_its_own(
    server: LeaseServer, leases: Leases, options: Options, slept: list[float], node: str
) -> None:
    other = Election(leases, LEASE, identity(node))
    other.step()
    before = spec(server, LEASE)
    leave_leases(options, ())
    assert (spec(server, LEASE), slept) == (before, [])


@pytest.mark.parametrize("is_away", [True, False], ids=["one that is away", "one that refuses"])
def test_an_api_server_holds_nothing_up(
    server: LeaseServer, leases: Leases, options: Options, *, is_away: bool
) -> None:
    Election(leases, LEASE, identity("n1")).step()
    if is_away:
        server.away.add("*")
    else:
        server.forbids = lambda _method, _path: "RBAC"
    leave_leases(options, ())


def test_neither_do_credentials_that_do_not_come(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    comes = Event()
    monkeypatch.setattr(lease_leave, "api_client", lambda _: comes.wait() and None)
    leave_leases(options, (), limit_s=0.01)
    comes.set()


def test_nor_a_node_without_any(tmp_path: Path) -> None:
    leave_leases(Options(node_name="n1", kubeconfig=tmp_path / "none", loadbalancer_pools=True), ())
