"""The keeper and a real BIRD: it starts by the first file, takes what is right, and never what it refuses."""

import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path
from typing import Self

import pytest

from agent.bgp.control import Answer, BirdError, BirdRefusal, Control
from agent.bgp.keeper import CANDIDATE, CONFIG, FOLDER, REFILL_S, SOCKET, Keeper
from agent.bgp.leave import leave
from agent.compile.bgp.bird import bird_config
from agent.compile.bgp.router import Router, Session, Told
from agent.model.bgp import Password
from agent.model.community import Community, CommunityKind, Marks
from agent.model.name import ObjectName, Problem
from agent.serve.bgp_metrics import bgp_families
from agent.threads import Threads

pytestmark = pytest.mark.netns

WITHIN_S = 90.0
ROUTER = Router(
    IPv4Address("192.0.2.11"),
    64512,
    sessions=(
        Session("peer_192_0_2_1", "BGPPeer tor", ip_address("192.0.2.1"), 64600, ip_address("192.0.2.11"), 64512),
    ),
    pods=(Told(ip_network("10.244.1.0/24")),),
)
WRONG = replace(ROUTER, sessions=(replace(ROUTER.sessions[0], password=Password('quoted"')),))


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


class Beside:
    """A BIRD in a network namespace of its own, and a keeper for it."""

    def __init__(self, run_dir: Path) -> None:
        self.folder = run_dir / FOLDER
        self.told: list[tuple[Problem, ...]] = []
        self.keeper = Keeper(run_dir, "n1", Threads(), self.told.append)
        self._bird: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start BIRD, as its container does."""
        until((self.folder / CONFIG).exists, "no first configuration")
        argv = [
            "unshare",
            "--net",
            "bird",
            "-f",
            "-R",
            "-c",
            str(self.folder / CONFIG),
            "-s",
            str(self.folder / SOCKET),
        ]
        self._bird = subprocess.Popen(argv, stderr=subprocess.DEVNULL)

    def end(self) -> None:
        """End it."""
        if self._bird:
            self._bird.kill()
            self._bird.wait()

    def names(self) -> set[str]:
        """The sessions that BIRD has."""
        return {one.name for one in self.keeper.state.sessions}


@pytest.fixture
def beside(tmp_path: Path) -> Iterator[Beside]:
    made = Beside(tmp_path)
    made.keeper.start()
    try:
        yield made
    finally:
        made.keeper.stop()
        made.end()


def test_bird_is_waited_for_then_told_and_what_it_refuses_changes_nothing(beside: Beside) -> None:
    beside.keeper.want(ROUTER)
    until(lambda: bool(beside.told), "no problem without BIRD")
    assert [(one.kind, str(one.name), one.field) for one in beside.told[-1]] == [("Node", "n1", "--router")]
    beside.start()
    until(lambda: beside.names() == {"peer_192_0_2_1"}, "not configured")
    until(lambda: beside.told[-1] == (), "the problem stays")
    config = (beside.folder / CONFIG).read_text()
    assert config == bird_config(ROUTER)
    assert (beside.folder / CONFIG).stat().st_mode & 0o777 == 0o600

    beside.keeper.want(WRONG)
    until(lambda: bool(beside.told[-1]), "nothing is told of what BIRD refused")
    (problem,) = beside.told[-1]
    assert "Unterminated string" in problem.text
    assert "quoted" not in problem.text
    assert (beside.folder / CONFIG).read_text() == config
    assert beside.names() == {"peer_192_0_2_1"}

    assert (problem.kind, str(problem.name)) == ("BGPPeer", "tor")

    other = replace(ROUTER.sessions[0], name="peer_192_0_2_2", about="BGPPeer more", address=ip_address("192.0.2.2"))
    beside.keeper.want(replace(WRONG, sessions=(*WRONG.sessions, other)))
    until(lambda: beside.names() == {"peer_192_0_2_1", "peer_192_0_2_2"}, "one mistake keeps another peer away")
    until(lambda: [str(one.name) for one in beside.told[-1]] == ["tor"], "it is not told whose mistake it is")

    more = replace(ROUTER, services=(Told(ip_network("203.0.113.1/32")),))
    beside.keeper.want(more)
    until(lambda: "203.0.113.1/32" in (beside.folder / CONFIG).read_text(), "what is right does not follow")
    until(lambda: beside.told[-1] == (), "the problem stays")
    metrics = {one.name: one.samples for one in bgp_families(beside.keeper.state)}
    assert [one.labels["peer"] for one in metrics["sluiceway_bgp_session_up"]] == ["BGPPeer tor"]

    (beside.folder / CANDIDATE).write_text("of an agent that died")
    leave(beside.folder.parent)
    with Control(beside.folder / SOCKET) as bird:
        assert "peer_" not in "".join(text for _, text in bird.ask("show protocols").lines)
    assert [path.name for path in beside.folder.iterdir()] == [SOCKET], "a candidate may have passwords"


def test_what_bird_refuses_of_one_services_routes_keeps_no_other_change_back(beside: Beside) -> None:
    beside.keeper.want(ROUTER)
    beside.start()
    until(lambda: beside.names() == {"peer_192_0_2_1"}, "not configured")
    bad = Marks((Community(CommunityKind.EXTENDED, ("rt", "4200000000", "70000")),))
    services = (
        Told(ip_network("203.0.113.1/32"), bad, ObjectName("default", "web")),
        Told(ip_network("203.0.113.2/32")),
    )
    beside.keeper.want(replace(ROUTER, services=services))
    until(lambda: "203.0.113.2/32" in (beside.folder / CONFIG).read_text(), "what is right does not follow")
    assert "203.0.113.1/32" not in (beside.folder / CONFIG).read_text()
    until(lambda: bool(beside.told[-1]), "nothing is told of what BIRD refused")
    (problem,) = beside.told[-1]
    assert (problem.kind, str(problem.name)) == ("Service", "default/web")
    assert "can't be used with 4-byte ASN" in problem.text
    beside.keeper.want(ROUTER)
    until(lambda: "203.0.113" not in (beside.folder / CONFIG).read_text(), "a withdrawal does not follow")
    until(lambda: beside.told[-1] == (), "the problem stays")


class Died(BaseException):
    """The agent is killed."""


@pytest.mark.parametrize("step", ["ask", "rename"])
def test_whatever_an_agent_dies_at_the_next_has_bird_follow(
    beside: Beside, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    beside.keeper.want(ROUTER)
    until((beside.folder / CONFIG).exists, "no first configuration")
    beside.start()
    until(lambda: beside.names() == {"peer_192_0_2_1"}, "not configured")
    beside.keeper.stop()

    def dies(one: Control | Path, word: str | Path) -> object:
        if (one.name == CANDIDATE) if isinstance(one, Path) else str(word).startswith('configure "'):
            raise Died
        return whole(one, word)

    more = replace(ROUTER, services=(Told(ip_network("203.0.113.1/32")),))
    where = Control if step == "ask" else Path
    whole = getattr(where, step)
    with monkeypatch.context() as patched:
        patched.setattr(where, step, dies)
        dying = Keeper(beside.folder.parent, "n1", Threads(), beside.told.append)
        dying.want(more)
        with pytest.raises(Died):
            dying.turn()
    beside.keeper = Keeper(beside.folder.parent, "n1", Threads(), beside.told.append)
    beside.keeper.want(more)
    beside.keeper.start()
    until(lambda: "203.0.113.1/32" in (beside.folder / CONFIG).read_text(), "not written")
    with Control(beside.folder / SOCKET) as bird:
        until(lambda: "203.0.113.1" in str(bird.ask("show route").lines), "BIRD has the configuration before")


@pytest.mark.parametrize("text", [pytest.param(b"\xff\xfe", id="no text"), pytest.param(None, id="gone")])
def test_a_file_that_somebody_spoils_is_written_anew(beside: Beside, text: bytes | None) -> None:
    beside.keeper.want(ROUTER)
    beside.start()
    until(lambda: beside.names() == {"peer_192_0_2_1"}, "not configured")
    beside.keeper.stop()
    path = beside.folder / CONFIG
    if text is None:
        path.unlink()
    else:
        path.write_bytes(text)
        beside.keeper.doubt()  # as with each resync
    beside.keeper.turn()
    assert path.read_text() == bird_config(ROUTER)
    assert beside.names() == {"peer_192_0_2_1"}


def test_nobody_listening_is_told_by_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(BirdError, match="BIRD does not answer at"):
        Control(tmp_path / "none")


@dataclass(frozen=True, slots=True)
class Look:
    """What BIRD says of its one session at a look."""

    state: str
    since_s: int = 0  # of a minute
    ahead_s: float = 0.0  # by which the clock has been set since the beginning
    peer: str = "192.0.2.1"
    imported: str = ""  # of a limit of 3, "2 [HIT]"
    later_s: float = 0.0  # since the beginning


GONE = Look("")  # it does not run
ASKED: list[str] = []  # beside what is looked at


class Said:
    """A BIRD that says this."""

    def __init__(self, look: Look) -> None:
        self._look = look

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ask(self, command: str) -> Answer:
        """As Control.ask()."""
        if command.startswith("reload"):
            ASKED.append(command)
            raise BirdRefusal("reload failed")  # of a peer that cannot
        if self._look is GONE:
            raise BirdError("BIRD ended")
        head = f"peer_192_0_2_1 BGP --- up 2026-11-29 12:00:{self._look.since_s:02}"
        details: tuple[str, ...] = (
            f"  BGP state: {self._look.state}",
            f"    Neighbor address: {self._look.peer}",
            "    Last error: Hold timer expired",
        )
        if count := self._look.imported.partition(" ")[0]:
            hit = self._look.imported.removeprefix(count)
            details += (f"    Import limit: 3{hit}", f"    Routes: {count} imported, 0 exported, 0 preferred")
        return Answer(((1002, head), *((1006, text) for text in details)))


@dataclass(slots=True)
class Following:
    """A keeper that looks at such a BIRD, and what is told of the session."""

    keeper: Keeper
    told: list[str]
    patched: pytest.MonkeyPatch
    problems: list[tuple[Problem, ...]]

    def see(self, *looks: Look) -> None:
        """One after the other."""
        for look in looks:
            self.patched.setattr("agent.bgp.keeper.Control", lambda _, look=look: Said(look))
            self.patched.setattr("time.time", lambda look=look: 1e9 + look.ahead_s + look.later_s)
            self.patched.setattr("time.monotonic", lambda look=look: 1e3 + look.later_s)
            self.keeper.try_turn()


@pytest.fixture
def following(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Following:
    told: list[str] = []
    problems: list[tuple[Problem, ...]] = []
    keeper = Keeper(tmp_path, "n1", Threads(), problems.append, lambda one, _: told.append(one.state))
    return Following(keeper, told, monkeypatch, problems)


NAME, DOWN, UP = "peer_192_0_2_1", "Active", "Established"


@pytest.mark.parametrize(
    ("looks", "told", "flaps"),
    [
        pytest.param([Look(DOWN), Look(UP, 2), Look(UP, 2)], [], 0, id="one that comes up for the first time"),
        pytest.param([Look(UP), Look(DOWN, 8), Look(DOWN, 8), Look(UP, 9)], [DOWN, UP], 1, id="lost, and back"),
        pytest.param([Look(UP), Look(UP, 9)], [UP], 1, id="lost and back between two looks"),
        pytest.param([Look(UP, 4), Look(UP, 5), Look(UP, 4)], [], 0, id="BIRD rounds its time otherwise"),
        pytest.param([Look(UP, 4), Look(UP, 34, 30.0), Look(UP, 3, -0.5)], [], 0, id="the clock is set"),
        pytest.param(
            [Look(UP, 4), *(Look(UP, 4 + int(step * 0.4), step * 0.4) for step in range(1, 9))],
            [],
            0,
            id="the clock is slewed by many small steps",
        ),
        pytest.param([Look(UP, 4), Look(UP, 44, 30.0)], [UP], 1, id="lost and back while the clock is set"),
        pytest.param([Look(UP), GONE, Look(DOWN, 8), Look(UP, 9)], [DOWN, UP], 1, id="lost with BIRD, and back"),
        pytest.param([Look(UP), GONE, GONE, Look(UP, 9)], [UP], 1, id="lost with BIRD and back between two looks"),
        pytest.param([Look(UP), GONE, Look(UP)], [], 0, id="BIRD has not answered, and that is all"),
    ],
)
def test_who_is_to_be_told_hears_of_a_session_that_is_lost_and_of_its_return(
    following: Following, looks: list[Look], told: list[str], flaps: int
) -> None:
    following.see(*looks)
    assert following.told == told
    assert following.keeper.state.flaps == {NAME: flaps}


def test_the_time_that_is_told_of_a_session_is_the_same_while_it_lasts(following: Following) -> None:
    told = []
    for look in (Look(UP, 4), Look(UP, 5), Look(UP, 4), Look(UP, 34, 30.0), Look(UP, 35, 30.0)):
        following.see(look)
        told.append(following.keeper.state.sessions[0].since[-2:])
    assert told == ["04", "04", "04", "34", "34"]


def test_while_bird_is_away_its_sessions_are_down_and_none_is_forgotten(following: Following) -> None:
    following.see(Look(UP), Look(UP, 9), GONE)
    state = following.keeper.state
    assert not state.is_running
    samples = {one.name: one.value for family in bgp_families(state) for one in family.samples}
    assert samples["sluiceway_bgp_session_up"] == 0
    assert samples["sluiceway_bgp_session_losses_total"] == 1


def test_who_is_to_be_a_peer_and_has_no_session_is_down(following: Following) -> None:
    refused = replace(ROUTER.sessions[0], name="peer_192_0_2_2", about="BGPPeer two", address=ip_address("192.0.2.2"))
    following.keeper.want(
        replace(ROUTER, sessions=(*ROUTER.sessions, refused), absent=(("BGPPeer without-password", "192.0.2.3"),))
    )
    following.see(Look(UP))
    assert _up(following) == {"tor": 1, "two": 0, "without-password": 0}
    following.see(GONE)
    assert _up(following) == {"tor": 0, "two": 0, "without-password": 0}


def _up(following: Following) -> dict[str, float]:
    """By the names of BGPPeers, whether they have a session."""
    families = bgp_families(following.keeper.state)
    (samples,) = (one.samples for one in families if one.name == "sluiceway_bgp_session_up")
    return {one.labels["peer"].removeprefix("BGPPeer "): one.value for one in samples}


def test_a_peer_that_told_too_much_is_named_and_once_it_tells_less_asked_for_all_of_it(following: Following) -> None:
    problems = following.problems
    following.keeper.want(ROUTER)
    ASKED.clear()
    following.see(Look(UP, imported="3"), Look(UP, imported="3 [HIT]"))
    assert [(one.kind, one.name.name, one.field) for one in problems[-1]] == [("BGPPeer", "tor", "spec.import.limit")]
    (samples,) = (
        one.samples for one in bgp_families(following.keeper.state) if one.name == "sluiceway_bgp_import_limited"
    )
    assert [one.value for one in samples] == [1]
    assert ASKED == []
    following.see(*(Look(UP, imported="1 [HIT]", later_s=after_s) for after_s in (0, 1, REFILL_S - 1)))
    assert ASKED == ["reload in peer_192_0_2_1"]
    following.see(Look(UP, imported="1 [HIT]", later_s=REFILL_S))
    assert len(ASKED) == 2
    following.see(Look(UP, imported="2", later_s=REFILL_S + 1))
    assert problems[-1] == ()


def test_with_whom_a_session_is_established_at_an_interface_is_known(following: Following) -> None:
    following.see(Look(UP, peer="fe80::1%p0"))
    assert following.keeper.at_interfaces() == {"p0": ip_address("fe80::1")}
    following.see(Look(DOWN, peer="fe80::1%p0"))
    assert following.keeper.at_interfaces() == {}
