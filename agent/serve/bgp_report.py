"""Who asked for each of BGP's sessions, in a file that outlives the agent; how they fare BIRD tells dpctl itself."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from agent.compile.bgp.plan import Step
from agent.compile.bgp.router import Router, Session
from agent.log import logger
from agent.model.bgp import PrefixRange
from agent.serve import report_file

log = logger(__name__)

FILE = "bgp.json"  # in --run-dir


@dataclass(frozen=True, slots=True)
class StepLine:
    """One rule of a session's, of which the first that fits decides."""

    by: str
    accepts: bool
    origins: tuple[str, ...] = ()  # of what is told
    prefixes: tuple[tuple[str, int, int], ...] | None = None  # each with its least and greatest length; None: every
    excepted: tuple[tuple[str, int, int], ...] = ()  # and within none of these
    needs: str = ""  # what else is to be so of the route
    does: str = ""  # to it


@dataclass(frozen=True, slots=True)
class SessionLine:
    """One session that is wanted."""

    name: str  # BIRD's
    about: str  # "Node n2", "BGPPeer tor"
    address: str
    asn: int
    local: str
    has_password: bool = False
    has_bfd: bool = False
    families: tuple[int, ...] = ()  # of which it carries routes
    imports: tuple[StepLine, ...] = ()
    exports: tuple[StepLine, ...] = ()


@dataclass(frozen=True, slots=True)
class BgpReport:
    """What the file holds; of secrets that they are there and no more."""

    router_id: str = ""
    asn: int = 0
    sessions: tuple[SessionLine, ...] = ()
    pods: tuple[str, ...] = ()  # told of
    services: tuple[str, ...] = ()
    aggregates: tuple[str, ...] = ()
    why_gone: str = ""  # why it tells of no services, if it is about to go
    absent: tuple[tuple[str, str], ...] = ()  # who is to be a peer and has no session: by whose word, and its address


class BgpReporter:
    """Writes the file when there is something new."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._written: Router | None = None

    def report(self, router: Router | None) -> None:
        """Write it; a file that cannot be written is logged, and tried again with the next change."""
        if router is None or router is self._written:
            return
        self._written = router
        try:
            report_file.write(self._run_dir, FILE, msgspec.json.encode(made(router)))
        except OSError as error:
            log.warning("BGP's sessions cannot be written; dpctl bgp shows older ones", why=error)


def made(router: Router) -> BgpReport:
    """What is told of a Router."""
    return BgpReport(
        str(router.router_id),
        router.asn,
        tuple(map(_session, router.sessions)),
        _texts(router.pods),
        _texts(router.services),
        _texts(router.aggregates),
        router.why_gone,
        router.absent,
    )


def _session(one: Session) -> SessionLine:
    return SessionLine(
        name=one.name,
        about=one.about,
        address=f"{one.address}%{one.interface}" if one.interface else str(one.address),
        asn=one.asn,
        local=str(one.local or ""),
        has_password=one.password is not None,
        has_bfd=bool(one.bfd),
        families=one.families,
        imports=tuple(map(_step, one.imports)),
        exports=tuple(map(_step, one.exports)),
    )


def _step(one: Step) -> StepLine:
    prefixes = None if one.prefixes is None else _ranges(one.prefixes)
    excepted = _ranges(one.rule.excepted) if one.rule else ()
    origins = tuple(map(str, one.origins))
    return StepLine(one.by, one.accepts, origins, prefixes, excepted, "; ".join(_needs(one)), _does(one))


def _ranges(given: Iterable[PrefixRange]) -> tuple[tuple[str, int, int], ...]:
    return tuple((str(one.network), one.least, one.most) for one in given)


def _needs(step: Step) -> Iterator[str]:
    if step.hops:
        yield "its next hop is the node whose it is"
    if step.not_by:
        yield "its next hop is no node that tells of its pods itself"
    if step.rule and step.rule.communities:
        yield f"it has {' or '.join(map(str, step.rule.communities))}"
    if step.rule and step.rule.interface:
        yield f"its next hop is at {step.rule.interface}"
    if step.rule and step.rule.as_path:
        yield f"its AS path begins with {' '.join(map(str, step.rule.as_path))}"


def _does(step: Step) -> str:
    change = step.change
    said = [f"adds {one}" for one in change.communities] + [f"removes {one}" for one in change.removed]
    said += [f"MED {change.med}"] if change.med is not None else []
    said += [f"local preference {change.local_preference}"] if change.local_preference is not None else []
    said += [f"prepends {' '.join(map(str, change.prepends))}"] if change.prepends else []
    return ", ".join(said)


def _texts(values: Iterable[object]) -> tuple[str, ...]:
    return tuple(map(str, values))


def read(run_dir: Path) -> BgpReport | None:
    """What an agent wrote last; None where there is nothing that can be read.

    Raises:
        PermissionError: this user may not look.
    """
    return report_file.read(run_dir, FILE, BgpReport)
