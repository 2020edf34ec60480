"""BGPFilters: rules that BGPPeers name, by which routes are taken and told."""

import re
from collections.abc import Iterator, Sequence

import msgspec
from msgspec import Struct, field

from agent.model.bgp_filter import OWN, BgpFilter, Change, FilterRule, Origin
from agent.options.values import MAX_ASN
from agent.watch.decode import bgp_fields
from agent.watch.decode.bgp_fields import Prefix
from agent.watch.decode.kind import Content, Context, Decoded, Kind
from agent.watch.decode.objects import Metadata
from agent.watch.decode.reader import Reader
from agent.watch.decode.standing import Status, standing

ACTIONS = {"Accept": True, "Reject": False}
PEER_TYPES = {"": None, "eBGP": False, "iBGP": True}
_PATTERN = re.compile(r"[a-zA-Z0-9_.@*?-]{1,15}")  # of the names that the kernel takes, those that BIRD takes in quotes
SOURCES = {origin.value: origin for origin in (*OWN, Origin.PEERS)}


class _Set(Struct, rename="camel", frozen=True):
    """``set`` of a rule."""

    add_communities: list[str] | None = None
    remove_communities: list[str] | None = None
    med: int | None = None
    local_preference: int | None = None
    prepend: list[int] | None = None


class _Rule(Struct, rename="camel", frozen=True):
    """``spec.import[]`` and ``spec.export[]``."""

    action: str = ""
    prefixes: list[Prefix] | None = None
    except_prefixes: list[Prefix] | None = None
    interface: str = ""
    peer_type: str = ""
    sources: list[str] | None = None
    communities: list[str] | None = None
    as_path_begins: list[int] | None = field(name="asPathBegins", default=None)
    change: _Set = field(name="set", default=_Set())


class _Spec(Struct, frozen=True):
    """``spec`` of a BGPFilter."""

    imports: list[_Rule] | None = field(name="import", default=None)
    exports: list[_Rule] | None = field(name="export", default=None)


class _Filter(Struct, frozen=True):
    """A BGPFilter."""

    metadata: Metadata = Metadata()
    spec: _Spec = _Spec()
    status: Status = Status()


_FILTER = msgspec.json.Decoder(_Filter)


def _decode(content: Content, context: Context) -> Decoded:
    found = _FILTER.decode(content)
    read, spec = Reader(BGP_FILTER, found.metadata, context.shared), found.spec
    imports = tuple(_rules(read, spec.imports or (), "spec.import", is_import=True))
    exports = tuple(_rules(read, spec.exports or (), "spec.export", is_import=False))
    # what a rule was meant to keep out nobody knows: whoever names such a filter has no session
    now = standing(read, found.metadata, found.status)
    return read.result(BgpFilter(read.name.name, not read.problems, imports, exports, now))


def _rules(read: Reader, given: Sequence[_Rule], where: str, *, is_import: bool) -> Iterator[FilterRule]:
    for index, rule in enumerate(given):
        here = f"{where}[{index}]"
        if rule.action not in ACTIONS:
            read.refuse(f"{here}.action", f"{rule.action[:64]!r} is neither Accept nor Reject")
            continue
        accepts = ACTIONS[rule.action]
        if accepts and is_import and not rule.prefixes:
            read.refuse(f"{here}.prefixes", "is missing; say what is taken")
        if is_import and rule.sources:
            read.refuse(f"{here}.sources", "is of what is told alone; leave it out")
        yield FilterRule(
            accepts=accepts,
            prefixes=tuple(bgp_fields.prefixes(read, rule.prefixes or (), f"{here}.prefixes")),
            excepted=tuple(bgp_fields.prefixes(read, rule.except_prefixes or (), f"{here}.exceptPrefixes")),
            interface=_interface(read, rule.interface, f"{here}.interface"),
            of_internal=_peer_type(read, rule.peer_type, f"{here}.peerType"),
            origins=() if is_import else tuple(_origins(read, rule.sources, f"{here}.sources")),
            communities=bgp_fields.communities(read, rule.communities, f"{here}.communities"),
            as_path=tuple(_path(read, rule.as_path_begins or (), f"{here}.asPathBegins")),
            change=_change(read, rule.change, f"{here}.set"),
        )


def _origins(read: Reader, given: Sequence[str] | None, where: str) -> Iterator[Origin]:
    if not given:
        yield from OWN
    for index, text in enumerate(given or ()):
        if text in SOURCES:
            yield SOURCES[text]
        else:
            read.refuse(f"{where}[{index}]", f"{text[:64]!r} is none of {', '.join(SOURCES)}")


def _interface(read: Reader, given: str, where: str) -> str:
    if given and not _PATTERN.fullmatch(given):
        read.refuse(where, f"{given[:64]!r} is no device's name, in which * may stand for the rest")
    return given


def _peer_type(read: Reader, given: str, where: str) -> bool | None:
    if given not in PEER_TYPES:
        read.refuse(where, f"{given[:64]!r} is neither eBGP nor iBGP")
    return PEER_TYPES.get(given)


def _path(read: Reader, given: Sequence[int], where: str) -> Iterator[int]:
    for index, asn in enumerate(given):
        yield bgp_fields.number_within(read, asn, f"{where}[{index}]", 1, MAX_ASN)


def _change(read: Reader, given: _Set, where: str) -> Change:
    return Change(
        communities=bgp_fields.communities(read, given.add_communities, f"{where}.addCommunities"),
        removed=bgp_fields.communities(read, given.remove_communities, f"{where}.removeCommunities"),
        med=bgp_fields.attribute(read, given.med, f"{where}.med"),
        local_preference=bgp_fields.attribute(read, given.local_preference, f"{where}.localPreference"),
        prepends=bgp_fields.prepends(read, given.prepend, f"{where}.prepend"),
    )


BGP_FILTER = Kind(
    "BGPFilter",
    "/apis/sluiceway.io/v1alpha1/bgpfilters",
    "bgp_filters",
    _decode,
    is_namespaced=False,
    is_optional=True,
)
