"""BIRD's filters of one session, of its steps: what no step accepts is refused.

Source: The BIRD Internet Routing Daemon's user's guide, version 2.0, chapter 5.
"""

from collections.abc import Iterable, Iterator

from agent.compile.bgp.plan import Step
from agent.compile.bgp.router import NODE, Router, Session
from agent.model.address import Address
from agent.model.bgp import PrefixRange
from agent.model.bgp_filter import Change, Origin
from agent.model.community import Community, CommunityKind, Marks

REACHABLE = "(source = RTS_BGP && dest != RTD_UNREACHABLE)"  # what a peer told, by a next hop that leads somewhere
_PROTOCOLS = {Origin.PODS: "own_pods", Origin.SERVICES: "own_services", Origin.AGGREGATES: "own_aggregates"}


def import_filter(session: Session, version: int) -> Iterator[str]:
    """What is taken in one family."""
    yield f"filter in_{session.name}_{version} {{"
    for step in session.imports:
        yield from _step(step, version, is_internal=True)
    yield "  reject;"
    yield "}"


def export_filter(router: Router, session: Session, version: int) -> Iterator[str]:
    """What is told in one family."""
    yield f"filter out_{session.name}_{version} {{"
    if session.is_node and any(one.marks.communities or one.marks.local_preference for one in router.pods):
        yield from (f"  {kind}.empty;" for kind in _KINDS)
        yield "  unset(bgp_local_pref);"
    has_nodes = any(network.version == version for network in router.cluster_pods)
    for step in session.exports:
        origins = tuple(one for one in step.origins if one is not Origin.NODES or has_nodes)
        yield from _step(step, version, origins, is_internal=session.is_internal)
    yield "  reject;"
    yield "}"


def attributes(marks: Marks) -> str:
    """What a static route carries, as its own block; empty for nothing."""
    said = [_add(one) for one in marks.communities]
    if marks.local_preference is not None:
        said.append(f"bgp_local_pref = {marks.local_preference};")
    return f" {{ {' '.join(said)} }}" if said else ""


def prefix_set(ranges: Iterable[PrefixRange]) -> str:
    """BIRD's set of prefixes."""
    return "[ " + ", ".join(f"{one.network}{{{one.least},{one.most}}}" for one in ranges) + " ]"


_KINDS = (CommunityKind.STANDARD, CommunityKind.EXTENDED, CommunityKind.LARGE)


def _step(step: Step, version: int, origins: tuple[Origin, ...] = (), *, is_internal: bool) -> Iterator[str]:
    conditions = []
    if step.origins:
        if not origins:
            return
        conditions.append(_any(_origin(one, version) for one in origins))
    if step.prefixes is not None:
        ranges = [one for one in step.prefixes if one.network.version == version]
        if not ranges:
            return
        conditions.append(f"net ~ {prefix_set(ranges)}")
    if step.rule:
        if excepted := [one for one in step.rule.excepted if one.network.version == version]:
            conditions.append(f"!(net ~ {prefix_set(excepted)})")
        if step.rule.interface:
            conditions.append(f'ifname ~ "{step.rule.interface}"')
        if step.rule.communities:
            conditions.append(_any(f"({_numbers(one)}) ~ {one.kind}" for one in step.rule.communities))
        if step.rule.as_path:
            conditions.append(f"bgp_path ~ [= {' '.join(map(str, step.rule.as_path))} * =]")
    if step.not_by and (hops := _of_family(step.not_by, version)):
        conditions.append(f"!(bgp_next_hop ~ [ {hops} ])")
    yield f"  # {' '.join(step.by.split())}"  # a name is one line, whoever wrote it
    if step.hops:
        yield from _by_hops(step, version)
        return
    verdict = "accept;" if step.accepts else "reject;"
    head = f"  if {' && '.join(conditions)} then " if conditions else "  "
    is_of_rule = step.rule is not None and step.rule.change.local_preference is not None
    said = [*_changes(step.change, is_internal=is_internal, is_of_rule=is_of_rule)]
    if not said:
        yield f"{head}{verdict}"
        return
    yield f"{head}{{"
    yield from (f"    {line}" for line in (*said, verdict))
    yield "  }"


def _by_hops(step: Step, version: int) -> Iterator[str]:
    """A tree of next hops, in which BIRD finds one of thousands at once."""
    yield "  case bgp_next_hop {"
    for hop in step.hops:
        addresses, ranges = _of_family(hop.addresses, version), [r for r in hop.ranges if r.network.version == version]
        if addresses and ranges:  # BIRD takes a colon that follows for the address's
            yield f"    {addresses} : if net ~ {prefix_set(ranges)} then {'accept' if step.accepts else 'reject'};"
    yield "  }"


def _of_family(addresses: Iterable[Address], version: int) -> str:
    return ", ".join(str(one) for one in dict.fromkeys(addresses) if one.version == version)


def _changes(change: Change, *, is_internal: bool, is_of_rule: bool) -> Iterator[str]:
    yield from (_add(one) for one in change.communities)
    yield from (f"{one.kind}.delete(({_numbers(one)}));" for one in change.removed)
    if change.med is not None:
        yield f"bgp_med = {change.med};"
    if change.local_preference is not None and is_internal:
        # a Service's own goes before what is said of all
        unless = "" if is_of_rule else "if !defined(bgp_local_pref) then "
        yield f"{unless}bgp_local_pref = {change.local_preference};"
    yield from (f"bgp_path.prepend({asn});" for asn in reversed(change.prepends))


def _origin(origin: Origin, version: int) -> str:
    if origin is Origin.PEERS:
        return "source = RTS_BGP"
    if origin is Origin.ROUTERS:
        return f'({REACHABLE} && !(proto ~ "{NODE}_*"))'
    if origin is Origin.NODES:
        return f"(source = RTS_BGP && net ~ CLUSTER_PODS{version})"
    return f'proto = "{_PROTOCOLS[origin]}{version}"'


def _any(conditions: Iterable[str]) -> str:
    said = tuple(conditions)
    return said[0] if len(said) == 1 else f"({' || '.join(said)})"


def _add(community: Community) -> str:
    return f"{community.kind}.add(({_numbers(community)}));"


def _numbers(community: Community) -> str:
    return ", ".join(community.parts)
