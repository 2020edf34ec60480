"""What each who begins flows has of the flow table, as ``bpf/dp/conntrack/share.h`` keeps it."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from maps import abi
from maps.registry import open_table

RUNS = REVISIONS = 1 << 32
NOBODYS = abi.Share.unpack(bytes(abi.Share.SIZE))


@dataclass(frozen=True, slots=True)
class Held:
    """What one has: open entries, and the new flows that were refused since it is who it is."""

    entries: int
    refused: int  # for its share was used up
    portless: int  # for no port was free
    ago_s: float | None  # since the last of them; None: there was none


@dataclass(frozen=True, slots=True)
class Shares:
    """The flow table's room, and what each has of it; pods by their slots."""

    room: int
    outside: Held
    node: Held
    pods: Mapping[int, Held]


def open_now(load: abi.Load, run: int) -> int:
    """What a number says while conntrack GC is at *run*, as ``load_open()`` in C."""
    behind = (run - load.run) % RUNS
    return load.flows if not behind else load.met if behind == 1 else 0


def held(share: abi.Share, run: int, revision: int, now_ns: int) -> Held:
    """What a share says of who has it now: a pod by its attachment's revision, others by 0."""
    entries = open_now(share.entries, run)
    if not share.refused_s or (revision - share.holder) % REVISIONS >= abi.SHARE_CHANGES:
        return Held(entries, 0, 0, None)
    units = ((now_ns >> abi.SEEN_BITS) - share.refused_s) % RUNS
    ago_s = (units << abi.SEEN_BITS) / 1e9 if units < RUNS // 2 else 0.0
    return Held(entries, share.refused, share.portless, ago_s)


def read(folder: Path, slots: Iterable[int], now_ns: int) -> Shares:
    """The shares of the node, of who is outside, and of the pods at *slots*, from the maps pinned in *folder*.

    Raises:
        MapsError: the maps are not there, or of another layout.
    """
    with ExitStack() as stack:
        flows, walks = (stack.enter_context(closing(open_table(spec, folder))) for spec in (abi.FLOWS, abi.LOAD_WALKS))
        shares = stack.enter_context(closing(open_table(abi.SHARES, folder)))
        attachments = stack.enter_context(closing(open_table(abi.ATTACHMENTS, folder)))
        walk = walks.get(0)
        run = walk.run if walk else 0

        def of(owner: int, revision: int = 0) -> Held:
            return held(shares.get(owner) or NOBODYS, run, revision, now_ns)

        def pods() -> Iterator[tuple[int, Held]]:
            for slot in slots:
                attachment = attachments.get(slot)
                if attachment is not None and attachment.ifindex:
                    yield slot, of(abi.SHARE_PODS + slot, attachment.revision)

        return Shares(flows.max_entries, of(abi.SHARE_OUTSIDE), of(abi.SHARE_NODE), dict(pods()))
