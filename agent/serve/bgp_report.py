"""Who asked for each of BGP's sessions, in a file that outlives the agent; how they fare BIRD tells dpctl itself."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from agent.compile.bgp import Router
from agent.log import logger
from agent.serve import report_file

log = logger(__name__)

FILE = "bgp.json"  # in --run-dir


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


@dataclass(frozen=True, slots=True)
class BgpReport:
    """What the file holds; of secrets that they are there and no more."""

    router_id: str = ""
    asn: int = 0
    sessions: tuple[SessionLine, ...] = ()
    pods: tuple[str, ...] = ()  # told of
    services: tuple[str, ...] = ()


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
        tuple(
            SessionLine(
                one.name, one.about, str(one.address), one.asn, str(one.local), one.password is not None, bool(one.bfd)
            )
            for one in router.sessions
        ),
        _texts(router.pods),
        _texts(router.services),
    )


def _texts(values: Iterable[object]) -> tuple[str, ...]:
    return tuple(map(str, values))


def read(run_dir: Path) -> BgpReport | None:
    """What an agent wrote last; None where there is nothing that can be read.

    Raises:
        PermissionError: this user may not look.
    """
    return report_file.read(run_dir, FILE, BgpReport)
