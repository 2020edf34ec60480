"""When what kube-proxy left goes, and what is told where it stays."""

from dataclasses import dataclass, field

import pytest

from agent.kernel.kube_proxy import alive, leftovers
from agent.kernel.kube_proxy.leftovers import Leftovers
from agent.kernel.kube_proxy.replacement import AGAIN_S, Replacement
from agent.kernel.kube_proxy.rules import Removal
from agent.netlink.nftables import NFPROTO_IPV4, Chain, Table
from agent.threads import Threads

NAT = Table(NFPROTO_IPV4, "nat")
SERVICES, MARK = Chain(NAT, "KUBE-SERVICES", has_hook=False), Chain(NAT, "KUBE-MARK-MASQ", has_hook=False)
THEIRS = Chain(NAT, "CNI-HOSTPORT-SETMARK", has_hook=False)
LEFT = Leftovers(Removal(chains=(MARK, SERVICES)))


@dataclass
class Node:
    """A node as the replacement sees it."""

    sign: str = ""
    there: Leftovers = LEFT
    kept: tuple[tuple[Chain, Chain], ...] = ()
    error: OSError | None = None
    now: float = 0.0
    removals: list[float] = field(default_factory=list)

    def remove(self, _: tuple[int, int]) -> Removal:
        """As leftovers.remove(), but for what others use."""
        if self.error:
            raise self.error
        self.removals.append(self.now)
        self.there = Leftovers(Removal(chains=tuple(chain for chain, _ in self.kept)))
        return Removal(kept=self.kept)


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Node:
    made = Node()
    monkeypatch.setattr(alive, "sign", lambda: made.sign)
    monkeypatch.setattr(leftovers, "look", lambda: made.there)
    monkeypatch.setattr(leftovers, "remove", made.remove)
    return made


@pytest.fixture
def replacement(node: Node) -> Replacement:
    return Replacement("n1", (30000, 32767), lambda: True, Threads(), clock=lambda: node.now)


def told(replacement: Replacement) -> list[str]:
    """The problems after a look."""
    replacement.look()
    assert all(
        (problem.kind, problem.name.name, problem.field) == ("Node", "n1", "--replace-kube-proxy")
        for problem in replacement.problems()
    )
    return [problem.text for problem in replacement.problems()]


def test_it_goes_once_and_nothing_is_told(node: Node, replacement: Replacement) -> None:
    assert told(replacement) == told(replacement) == []
    assert node.removals == [0.0]


def test_nothing_goes_while_kube_proxy_runs(node: Node, replacement: Replacement) -> None:
    node.sign = "runs as process 7"
    assert told(replacement) == [
        "kube-proxy runs as process 7, and what it has on the node stays until it ends; stop it"
    ]
    assert node.removals == []
    node.sign = ""
    assert told(replacement) == []
    assert node.removals == [0.0]


def test_what_comes_back_is_told_and_goes_again_much_later(node: Node, replacement: Replacement) -> None:
    assert told(replacement) == []
    node.now, node.there = 30.0, LEFT
    (text,) = told(replacement)
    assert text.startswith("kube-proxy's iptables chains came back within 30 s: something writes it; stop that")
    assert node.removals == [0.0]
    node.now = AGAIN_S
    assert told(replacement) == []
    assert node.removals == [0.0, AGAIN_S]


def test_what_others_use_is_told_and_tried_once(node: Node, replacement: Replacement) -> None:
    node.kept = ((MARK, THEIRS),)
    first = told(replacement)
    (text,) = first
    assert text.startswith(
        "iptables chain KUBE-MARK-MASQ of table nat stays, though kube-proxy's, as CNI-HOSTPORT-SETMARK leads to it"
    )
    node.now = 2 * AGAIN_S
    assert told(replacement) == first
    assert node.removals == [0.0]


def test_a_refusal_is_told_and_tried_again(node: Node, replacement: Replacement) -> None:
    node.error = PermissionError(1, "nf_tables: Operation not permitted")
    (text,) = told(replacement)
    assert "cannot be taken away" in text
    assert "CAP_NET_ADMIN" in text
    node.error = None
    assert told(replacement) == []


def test_legacy_tables_are_told_with_what_removes_them(node: Node, replacement: Replacement) -> None:
    node.there = Leftovers(legacy=("nat", "filter", "nat"))
    (text,) = told(replacement)
    assert "iptables-legacy's filter, nat stay" in text
    assert "run `kube-proxy --cleanup`" in text
    assert node.removals == []
