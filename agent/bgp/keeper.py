"""The thread that keeps BIRD at what is wanted, and hears how its sessions fare.

BIRD is a process of its own that the agent neither starts nor ends: sessions outlive both the agent and its upgrades.
What BIRD has not found right is never put where BIRD would find it when it starts again.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from pathlib import Path
from threading import Event

from agent.bgp import md5
from agent.bgp.control import BirdError, BirdRefusal, Control
from agent.bgp.refused import Refused
from agent.bgp.sessions import (
    SessionState,
    bfd_states,
    is_another,
    session_states,
    steadied,
    unheard,
    with_bfd,
)
from agent.compile.bgp.bird import START, bird_config
from agent.compile.bgp.router import Router
from agent.log import logger
from agent.model.name import ObjectName, Problem
from agent.threads import Threads

log = logger(__name__)

FOLDER = "bird"  # in --run-dir
CONFIG, CANDIDATE, SOCKET = "bird.conf", "bird.conf.new", "bird.ctl"
GATHER_S = 0.005  # of changes that come together
LOOK_S = 1.0  # between looks at the sessions
RETRY_S = 5.0  # after BIRD refused
REFILL_S = 60.0  # between two times that a peer is asked for all it has anew
REOPEN_S = 5.0  # between two times that BIRD tries to listen
PASSWORD_S = 60.0  # for which a wrong password is told of: a peer tries again sooner


@dataclass(frozen=True, slots=True)
class BgpState:
    """How it stands."""

    is_running: bool = False  # BIRD answers
    has_all: bool = False  # the sessions that are wanted, and no other
    trouble: str = ""  # why it is not as it should be
    sessions: tuple[SessionState, ...] = ()
    about: Mapping[str, str] = field(default_factory=dict)  # who asked for a session, by its name
    flaps: Mapping[str, int] = field(default_factory=dict)  # how often it was lost, by its name
    absent: tuple[tuple[str, str], ...] = ()  # peers without a session: who asked for it, and its address if known


class Keeper:
    """BIRD's configuration and state."""

    def __init__(
        self,
        run_dir: Path,
        node: str,
        threads: Threads,
        report: Callable[[tuple[Problem, ...]], None],
        on_session: Callable[[SessionState, str], None] = lambda *_: None,
    ) -> None:
        """*report* hears of what is wrong, when that changes.

        *on_session* hears of a session that was lost, or came back, and who asked for it; it must return at once.
        """
        self._folder, self._node, self._report, self._on_session = run_dir / FOLDER, node, report, on_session
        self._refused_segments, self._refused_at = md5.count(), -PASSWORD_S  # of the monotonic clock
        self._lost: set[str] = set()  # sessions that were lost and are not back
        self._seen: tuple[SessionState, ...] = ()  # as BIRD said it when it answered last
        self._wall_offset_s = 0.0  # wall clock minus monotonic clock, then
        self._wanted: Router | None = None
        self._applied: Router | None = None
        self._refused: Router | None = None
        self._held: Router | None = None  # what BIRD has taken of what was applied
        self._wrong = Refused()
        self._refilled: dict[str, float] = {}  # sessions, and when the peer was asked for all it has
        self._reopened_at = -REOPEN_S  # of the monotonic clock
        self._told: tuple[Problem, ...] | None = None
        self.state = BgpState()
        self._wake, self._is_ending = Event(), Event()
        self._thread = threads.make("bgp", self._run)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, timeout_s: float = 1.5) -> None:
        """End; BIRD goes on."""
        self._thread.end()
        self._is_ending.set()
        self._wake.set()
        self._thread.join(timeout_s)

    def want(self, router: Router) -> None:
        """Have BIRD be so, soon; from any thread."""
        self._wanted = router
        self._wake.set()

    def doubt(self) -> None:
        """Compare with the file again; from any thread."""
        self._wrong.doubt()
        self._applied = None
        self._wake.set()

    def _run(self) -> None:
        wait_s = 0.0
        while not self._is_ending.is_set():
            if self._wake.wait(wait_s) and not self._is_ending.is_set():
                self._is_ending.wait(GATHER_S)
            self._wake.clear()
            with self._thread.busy():
                self.try_turn()
            wait_s = RETRY_S if self._refused is not None else LOOK_S

    def at_interfaces(self) -> dict[str, IPv6Address]:
        """With whom a session is established, by the interface; from any thread."""
        up = (one for one in self.state.sessions if one.is_up and one.interface)
        return {one.interface: IPv6Address(one.address) for one in up}

    def try_turn(self) -> None:
        """A turn; what is in its way is told."""
        try:
            self.turn()
        except (BirdError, OSError) as error:
            self._tell(" ".join(str(error).split()), is_running=False)

    def turn(self) -> None:
        """Bring BIRD to what is wanted, if it is not, and look at it.

        Raises:
            BirdError: it does not run, or does not answer.
            OSError: a file cannot be written.
        """
        self._folder.mkdir(mode=0o700, exist_ok=True)
        if not (self._folder / CONFIG).exists():
            _write(self._folder / CONFIG, START)  # by which it starts, to be asked whether what comes is right
            self._applied = None
        wanted = self._wanted
        with Control(self._folder / SOCKET) as bird:
            trouble = ""
            if wanted is not None and wanted is not self._applied:
                trouble = self._apply(bird, wanted)
            elif self._refused is not None:
                trouble = self.state.trouble
            self._look(bird, wanted, trouble)

    def _apply(self, bird: Control, wanted: Router) -> str:
        """Why BIRD refused; empty when it did not."""
        text = bird_config(wanted)
        path = self._folder / CONFIG
        if text != _read(path) or self._refused is not None or not self._is_held(bird):

            def check(router: Router) -> str:
                return self._check(bird, text if router is wanted else bird_config(router))

            taken = self._wrong.taken(check, wanted, self._held)
            if taken is None:
                self._refused = wanted
                return f"BIRD refused the configuration, so that the one before holds: {check(wanted)}"
            candidate = self._folder / CANDIDATE
            bird.ask(f'configure "{candidate}"')
            candidate.rename(path)  # last: a file that is found as it is to be has been read
            log.info("BIRD configured", sessions=len(taken.sessions), services=len(taken.services))
            self._held = taken
        else:
            self._held, self._wrong = wanted, Refused()
        self._applied, self._refused = wanted, None
        return ""

    def _check(self, bird: Control, text: str) -> str:
        """Why BIRD would refuse it; empty where it would not, and then it is the candidate."""
        candidate = self._folder / CANDIDATE
        _write(candidate, text)
        try:
            bird.ask(f'configure check "{candidate}"')
        except BirdRefusal as error:
            candidate.unlink(missing_ok=True)
            return str(error)
        return ""

    def _is_held(self, bird: Control) -> bool:
        """Whether BIRD has read the file, for an agent that finds it as it would write it."""
        names = {one.name for one in session_states(bird.ask("show protocols all"))}
        return names == {one.name for one in self._wanted.sessions} if self._wanted else True

    def _look(self, bird: Control, wanted: Router | None, trouble: str) -> None:
        found = session_states(bird.ask("show protocols all"))
        if self._applied is not None and any(one.bfd for one in self._applied.sessions):
            found = with_bfd(found, bfd_states(bird.ask("show bfd sessions")))
        offset_s = time.time() - time.monotonic()
        set_s, self._wall_offset_s = offset_s - self._wall_offset_s, offset_s
        before = {one.name: one for one in self._seen}
        told = {one.name: one for one in self.state.sessions}
        shown = tuple(steadied(one, told[one.name]) if one.name in told else one for one in found)
        about = {one.name: one.about for one in wanted.sessions} if wanted else self.state.about
        flaps = {one.name: self.state.flaps.get(one.name, 0) for one in found}
        for one in found:
            flaps[one.name] += self._follow(before.get(one.name), one, set_s, about.get(one.name, one.name))
        self._lost &= flaps.keys()
        self._seen = found
        has_all = wanted is not None and wanted is self._applied
        self.state = BgpState(
            is_running=True,
            has_all=has_all,
            trouble=trouble,
            sessions=shown,
            about=about,
            flaps=flaps,
            absent=_absent(wanted, found),
        )
        self._tell(trouble or self._deaf() or self._wrong_password(), is_running=True)
        self._refill(bird, found)
        self._reopen(bird, found)

    def _refill(self, bird: Control, found: Iterable[SessionState]) -> None:
        """Have those tell all they have that are within their limits again: BIRD itself takes nothing new of them."""
        now = time.monotonic()
        self._refilled = {one.name: self._refilled[one.name] for one in found if one.name in self._refilled}
        for one in found:
            if not one.has_room or now - self._refilled.get(one.name, -REFILL_S) < REFILL_S:
                continue
            self._refilled[one.name] = now
            try:
                bird.ask(f"reload in {one.name}")
            except BirdRefusal as error:  # a peer without route refresh
                log.warning(
                    "a peer does not tell its routes anew; it does with a new session", name=one.name, why=error
                )

    def _reopen(self, bird: Control, found: Iterable[SessionState]) -> None:
        """Have BIRD listen where it could not; by itself it tries once."""
        deaf = [one.name for one in found if one.is_deaf]
        now = time.monotonic()
        if deaf and now - self._reopened_at >= REOPEN_S:
            self._reopened_at = now
            for name in deaf:
                bird.ask(f"enable {name}")

    def _deaf(self) -> str:
        """Whom BIRD cannot listen for, and at which port; empty for nobody."""
        deaf = sorted({self.state.about.get(one.name, one.name) for one in self.state.sessions if one.is_deaf})
        if not deaf or self._wanted is None:
            return ""
        return (
            f"BIRD cannot listen at port {self._wanted.port}: another process has it, or the node lacks the address; "
            f"without a session are {', '.join(deaf)}; it tries again"
        )

    def _follow(self, before: SessionState | None, now: SessionState, set_s: float, about: str) -> bool:
        """Take note of what became of a session, and tell of it; whether it was lost since.

        The clock was set ahead by *set_s* meanwhile.
        """
        is_lost = before is not None and before.is_up and (not now.is_up or is_another(now, before, set_s))
        if before is None or before.is_up != now.is_up:
            tell = log.warning if is_lost else log.info
            tell("BGP session", name=now.name, state=now.state, error=now.error or "none")
        if is_lost and not now.is_up:
            self._lost.add(now.name)
            self._on_session(now, about)
        elif now.is_up and (is_lost or now.name in self._lost):  # it may be back before anybody has looked
            self._lost.discard(now.name)
            self._on_session(now, about)
        return is_lost

    def _gone(self) -> tuple[SessionState, ...]:
        """The sessions that are wanted and were there when BIRD answered last: what became of them it will say."""
        wanted = None if self._wanted is None else {one.name for one in self._wanted.sessions}
        return tuple(unheard(one) for one in self._seen if wanted is None or one.name in wanted)

    def _wrong_password(self) -> str:
        """Who may have another password, while the kernel refuses what somebody sends for it; empty for nobody."""
        count, now = md5.count(), time.monotonic()
        if count > self._refused_segments:
            self._refused_at = now
        self._refused_segments = count
        down = sorted({self.state.about.get(one.name, one.name) for one in self.state.sessions if not one.is_up})
        if not down or now - self._refused_at > PASSWORD_S:
            return ""
        return (
            f"TCP segments with a wrong or missing password (MD5) come in, and these have no session: {', '.join(down)}"
        )

    def _limited(self) -> Iterator[Problem]:
        """Peers of which not all is taken."""
        for one in self.state.sessions:
            kind, _, name = self.state.about.get(one.name, "").partition(" ")
            if one.is_limited and kind == "BGPPeer":
                text = f"{one.address} tells Node {self._node} of more prefixes; what is beyond is not taken"
                yield Problem(kind, ObjectName("", name), "spec.import.limit", text)

    def _tell(self, trouble: str, *, is_running: bool) -> None:
        if not is_running:
            gone, before = self._gone(), self.state
            absent = _absent(self._wanted, gone)
            self.state = BgpState(trouble=trouble, sessions=gone, about=before.about, flaps=before.flaps, absent=absent)
        text = (*self._wrong.problems(self._node), *self._limited())
        if trouble:
            text = (Problem("Node", ObjectName("", self._node), "--router", trouble), *text)
        if text != self._told:
            self._told = text
            if trouble:
                log.warning("BGP is not as it should be; tried again", why=trouble)
            self._report(text)


def _absent(wanted: Router | None, found: Iterable[SessionState]) -> tuple[tuple[str, str], ...]:
    """Whom BIRD has no session with, and is to have."""
    if wanted is None:
        return ()
    there = {one.name for one in found}
    return (*wanted.absent, *((one.about, str(one.address)) for one in wanted.sessions if one.name not in there))


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")  # what is no text equals none of ours
    except OSError:
        return ""


def _write(path: Path, text: str) -> None:
    """A file that root alone may read: it holds passwords."""
    draft = path.with_name(f"{path.name}.draft")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    draft.write_text(text)
    draft.rename(path)
