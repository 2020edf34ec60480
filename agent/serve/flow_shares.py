"""Who takes more of the flow table or of translation ports than others leave: problems that name them, and metrics."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from agent.log import logger
from agent.model.attachment import Attachment
from agent.model.name import ObjectName, Problem
from maps.errors import MapsError
from maps.shares import Held, Shares, read

log = logger(__name__)

LOOK_S = 5.0  # between two looks for problems
LATELY_S = 60.0  # since a flow was refused: as long it is a problem
SHOWN = 100  # parts of the table's room: pods that have less than one have no gauge
NODE, OUTSIDE = "node", "outside"


@dataclass(frozen=True, slots=True)
class OwnerUse:
    """One who begins flows, by the name that metrics have."""

    owner: str
    held: Held
    is_shown: bool  # its entries are so many that it has a gauge


def owner_uses(shares: Shares, attachments: Iterable[Attachment]) -> Iterator[OwnerUse]:
    """Everybody, those outside and the node first."""
    yield OwnerUse(OUTSIDE, shares.outside, is_shown=True)
    yield OwnerUse(NODE, shares.node, is_shown=True)
    for one in attachments:
        held = shares.pods.get(one.slot)
        if held is not None:
            yield OwnerUse(_called(one), held, is_shown=held.entries * SHOWN >= shares.room)


def share_problems(shares: Shares, attachments: Iterable[Attachment], node: str) -> Iterator[Problem]:
    """Who was refused new flows of late."""
    this = ObjectName("", node)
    yield from _problems("Node", this, "flows from outside", shares.outside, shares.room)
    yield from _problems("Node", this, "flows of its processes", shares.node, shares.room)
    for one in attachments:
        held = shares.pods.get(one.slot)
        if held is not None:
            yield from _problems("Pod", one.pod or ObjectName("", _called(one)), "flows", held, shares.room)


class FlowShares:
    """Looks at the shares for the status and for scrapes; every look opens what it reads."""

    def __init__(
        self,
        maps: Path,
        node: str,
        attachments: Callable[[], Iterable[Attachment]],
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._maps = maps
        self._node = node
        self._attachments = attachments
        self._clock_ns = clock_ns
        self._looked_ns = 0
        self._problems: tuple[Problem, ...] = ()

    def problems(self) -> tuple[Problem, ...]:
        """Who was refused flows, as it was some seconds ago; called again and again, by one thread."""
        now_ns = self._clock_ns()
        if not self._looked_ns or now_ns - self._looked_ns >= LOOK_S * 1e9:
            self._looked_ns = now_ns
            attachments, shares = self._look()
            self._problems = tuple(share_problems(shares, attachments, self._node)) if shares else ()
        return self._problems

    def uses(self) -> Iterator[OwnerUse]:
        """Everybody, as it is now."""
        attachments, shares = self._look()
        if shares:
            yield from owner_uses(shares, attachments)

    def _look(self) -> tuple[tuple[Attachment, ...], Shares | None]:
        attachments = tuple(self._attachments())
        try:
            return attachments, read(self._maps, (one.slot for one in attachments), self._clock_ns())
        except (MapsError, OSError) as error:
            log.warning("flow shares cannot be read", why=error)
            return attachments, None


def share_families(uses: Iterable[OwnerUse]) -> Iterator[Metric]:
    """What Prometheus reads of them."""
    entries = GaugeMetricFamily(
        "sluiceway_flow_share_entries",
        "Flow table entries by who began them: outside, node, and pods with a hundredth of the room at least.",
        labels=["owner"],
    )
    refused = CounterMetricFamily(
        "sluiceway_flow_share_refused", "New flows without an entry, for their owner had its share.", labels=["owner"]
    )
    portless = CounterMetricFamily(
        "sluiceway_flow_share_portless", "New flows for which no translation port was free.", labels=["owner"]
    )
    for use in uses:
        if use.is_shown:
            entries.add_metric([use.owner], use.held.entries)
        if use.held.ago_s is not None:
            refused.add_metric([use.owner], use.held.refused)
            portless.add_metric([use.owner], use.held.portless)
    yield from (entries, refused, portless)


def _problems(kind: str, name: ObjectName, field: str, held: Held, room: int) -> Iterator[Problem]:
    if held.ago_s is None or held.ago_s > LATELY_S:
        return
    if held.refused:
        text = (
            f"had its share of the flow table's {room} entries, and was refused more; flows that are open go on, those"
            " of others begin; dpctl conntrack list shows where they go, --max-flows makes the table larger"
        )
        yield Problem(kind, name, field, text)
    if held.portless:
        text = (
            "found none of its translation ports free towards some server, and was refused more; flows that are open go"
            " on; dpctl conntrack list shows where they go"
        )
        yield Problem(kind, name, field, text)


def _called(attachment: Attachment) -> str:
    """A pod's name, or its container's where CNI did not say."""
    return str(attachment.pod) if attachment.pod else attachment.container_id
