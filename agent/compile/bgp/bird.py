"""BIRD's whole configuration, of one Router: alike for an equal one, so that BIRD changes what changed and no more.

What peers told goes to the kernel's main table with a metric of ours; nothing that BIRD is told here, and nothing of
the kernel's, gets there or to a peer unless a filter says so.

Source: The BIRD Internet Routing Daemon's user's guide, version 2.0.
"""

import re
from collections.abc import Iterable, Iterator

from agent.compile.bgp.bird_filter import REACHABLE, attributes, export_filter, import_filter, prefix_set
from agent.compile.bgp.plan import exactly
from agent.compile.bgp.router import FAMILIES, IPV4, NODE, Router, Session, Told
from agent.compile.tunnel import NAME as TUNNEL
from agent.model.bgp import AddPath

OWN_PREFERENCE = 250  # of this node's own routes: above the 240 that BIRD gives those of devices' addresses
_FAR_PREFERENCE = 11  # above the 10 that BIRD gives the kernel's routes of greater metrics
_MOST_FAR = 64
_DEVICE = re.compile(r"[a-zA-Z0-9_.:-]+")  # of the names that devices have, those that BIRD takes as a name
METRIC = 90  # of BIRD's routes in the kernel: the agent's own, by METRIC in kernel/net/routes.py, go before
OWN_PROTOCOL = 89  # of the agent's own routes, which BIRD is not to take for somebody's
MAX_PATHS = 16
# for which a BIRD that starts again keeps all to itself until every peer is back: those that live are within seconds
RECOVERY_S = 30
PASSWORD = "***"  # noqa: S105  what is shown in place of one
_MAX_TEXT = 300
START = "log stderr all;\nrouter id 0.0.0.1;\nprotocol device { scan time 10; }\n"  # before there is anything to say


def bird_config(router: Router, *, with_passwords: bool = True) -> str:
    """The text; without passwords it is fit to be shown."""
    return "\n".join(_lines(router, with_passwords=with_passwords)) + "\n"


def _lines(router: Router, *, with_passwords: bool) -> Iterator[str]:
    yield "# Written by the agent of this node, and written anew when something changes."
    yield "log stderr { info, remote, warning, error, auth, fatal, bug };"
    yield f"router id {router.router_id};"
    yield "timeformat protocol iso long;"
    restart_s = max((one.restart_s for one in router.sessions), default=0)
    if restart_s:
        yield f"graceful restart wait {min(restart_s, RECOVERY_S)};"
    yield "protocol device { scan time 10; }"
    yield "protocol direct connected { ipv4; ipv6; }"
    if any(one.bfd for one in router.sessions):
        yield "protocol bfd { }"
    interfaces = sorted({one.interface for one in router.sessions if one.interface})
    if interfaces:  # by our advertisements, as no default router, the other end may find us
        yield "protocol radv {"
        for interface in interfaces:
            yield f'  interface "{interface}" {{ min ra interval 3; max ra interval 10; default lifetime 0; }};'
        yield "}"
    if router.tunnelled:
        yield f"define TUNNELLED = [ {', '.join(map(str, router.tunnelled))} ];"
    for version in FAMILIES:
        of_version = [network for network in router.cluster_pods if network.version == version]
        if of_version:
            yield f"define CLUSTER_PODS{version} = {prefix_set(exactly(of_version))};"
        if never := [one for one in router.never if one.network.version == version]:
            yield f"define NEVER{version} = {prefix_set(never)};"
        yield from _static(f"own_pods{version}", version, router.pods)
        yield from _static(f"own_services{version}", version, router.services)
        if router.aggregates:
            yield from _static(f"own_aggregates{version}", version, router.aggregates)
        yield from _far_gateways(router, version)
        yield from _kernel(router, version)
    for session in router.sessions:
        yield ""
        yield from _session(router, session, with_passwords=with_passwords)


def _static(name: str, version: int, prefixes: Iterable[Told]) -> Iterator[str]:
    """This node's own: nobody who tells of the same goes before, nor a device that has the same address or subnet.

    BIRD tells the route alone that it prefers; what ran here before, or a balancer beside, may have a Service's address
    on a device, and a bridge the pods' range.
    """
    yield f"protocol static {name} {{"
    yield f"  ipv{version} {{ preference {OWN_PREFERENCE}; }};"
    for one in prefixes:
        if one.network.version == version:
            yield f"  route {one} blackhole{attributes(one.marks)};"
    yield "}"


def _far_gateways(router: Router, version: int) -> Iterator[str]:
    """The kernel's routes by gateways that are on no subnet of the node's, which BIRD does not take of the kernel."""
    ways = [one for one in router.far_gateways if one.network.version == version and _DEVICE.fullmatch(one.device)]
    if not ways:
        return
    yield f"protocol static far_gateways{version} {{"
    yield f"  ipv{version} {{ preference {_FAR_PREFERENCE}; }};"
    yield from (f"  route {one.network} via {one.gateway} %'{one.device}' onlink;" for one in ways[:_MOST_FAR])
    yield "}"


def _to_kernel(router: Router, version: int) -> Iterator[str]:
    """What the kernel is given, beside what peers told aggregates' blackholes.

    A route whose next hop leads nowhere is none (RFC 4271 9.1.2.1): as "unreachable" it would go before others of a
    higher metric, as a default route by DHCP has, and before shorter ones.
    Their packets that nothing within them takes end there, and go round no loop. What a peer told of what has become
    this node's own goes at once, and not when the peer has told all it has anew. A next hop that is a node which only
    the tunnel reaches is one on the tunnel's device, where the programs find that node by the route.
    """
    dropped = [one for one in router.dropped if one.version == version]
    aggregates = f' || (proto = "own_aggregates{version}" && net ~ {prefix_set(exactly(dropped))})' if dropped else ""
    has_never = any(one.network.version == version for one in router.never)
    told = f"({REACHABLE} && !(net ~ NEVER{version}))" if has_never else REACHABLE
    own = [one for one in router.sources if one.address.version == version]
    if not router.tunnelled and not own:
        yield f"    export where {told}{aggregates};"
        return
    yield "    export filter {"
    if router.tunnelled:
        yield "      if source = RTS_BGP && bgp_next_hop ~ TUNNELLED then {"
        yield f'        ifname = "{TUNNEL}";'
        yield "        onlink = true;"
        yield "        gw = bgp_next_hop;"
        yield "      }"
    for one in own:
        whose = "source = RTS_BGP" if one.is_of_all else f'proto ~ "{NODE}_*"'
        yield f"      if {whose} then krt_prefsrc = {one.address};"
    yield f"      if {told}{aggregates} then accept;"
    yield "      reject;"
    yield "    };"


def _kernel(router: Router, version: int) -> Iterator[str]:
    yield f"protocol kernel kernel{version} {{"
    yield f"  ipv{version} {{"
    # for next hops that are not on a subnet of the node's
    yield f"    import where krt_source != {OWN_PROTOCOL};"
    yield from _to_kernel(router, version)
    yield "  };"
    yield "  learn on;"
    yield "  persist on;"
    yield "  graceful restart on;"
    yield "  scan time 2;"
    yield f"  metric {METRIC};"
    yield f"  merge paths on limit {MAX_PATHS};"
    yield "}"


def _session(router: Router, session: Session, *, with_passwords: bool) -> Iterator[str]:
    carried = session.families
    for version in carried:
        yield from import_filter(session, version)
        yield from export_filter(router, session, version)
    yield f"protocol bgp {session.name} {{"
    yield f'  description "{_text(session.about)}";'
    local = f"{session.local} " if session.local else ""
    yield f"  local {local}port {router.port} as {session.local_asn};"
    yield f"  neighbor {session.address} port {session.port} as {session.asn};"
    if session.interface:
        yield f'  interface "{session.interface}";'
    if session.interface or session.is_direct:
        yield "  direct;"  # also of the same AS
    if session.is_strict:
        yield "  strict bind on;"
    if session.multihop:
        yield f"  multihop {session.multihop};"
    if session.ttl_security:
        yield "  ttl security on;"
    if session.password:
        yield f'  password "{session.password.text if with_passwords else PASSWORD}";'
    yield from _timers(session)
    if session.local_as_most:
        yield f"  allow local as {session.local_as_most};"
    if session.cluster_id:
        yield "  rr client;"
        yield f"  rr cluster id {session.cluster_id};"
    for version in carried:
        yield from _channel(session, version, relays=router.relays)
    yield "}"


def _text(name: str) -> str:
    """What BIRD takes in quotes; names of a folder's objects are whatever somebody writes, and BIRD has no escapes."""
    return " ".join(name.replace('"', "'").split())[:_MAX_TEXT]


def _timers(session: Session) -> Iterator[str]:
    """How its end is noticed, and what is kept then."""
    yield f"  hold time {session.hold_s};"
    if session.keepalive_s:
        yield f"  keepalive time {session.keepalive_s};"
    yield "  connect retry time 5;"
    yield "  connect delay time 1;"
    yield "  error wait time 1, 30;"
    if session.restart_s:
        yield "  graceful restart on;"
        yield f"  graceful restart time {session.restart_s};"
    else:
        yield "  graceful restart off;"
    if session.stale_s:
        yield "  long lived graceful restart on;"
        yield f"  long lived stale time {session.stale_s};"
    else:  # BIRD by itself would keep a router's routes for as long as that says
        yield "  long lived graceful restart off;"
    if bfd := session.bfd:
        yield "  bfd {"
        yield f"    min tx interval {bfd.transmit_ms} ms;"
        yield f"    min rx interval {bfd.receive_ms} ms;"
        yield f"    multiplier {bfd.multiplier};"
        yield "  };"
        if bfd.is_graceful:
            yield "  bfd graceful;"


def _channel(session: Session, version: int, *, relays: bool) -> Iterator[str]:
    yield f"  ipv{version} {{"
    yield f"    import filter in_{session.name}_{version};"
    yield f"    export filter out_{session.name}_{version};"
    if session.is_direct:
        yield "    gateway recursive;"  # who is of the same AS tells next hops beyond the subnet, too
    if session.import_limit:
        yield f"    import limit {session.import_limit} action block;"
    if session.next_hop_self and not session.reflects:
        yield "    next hop self;"
    elif session.reflects and relays:
        yield "    next hop self ebgp;"  # of what routers told this node itself
    if session.add_path is not AddPath.OFF:
        yield f"    add paths {session.add_path};"
    if version == IPV4 and session.extended_next_hop:
        yield "    extended next hop on;"
    elif session.address.version != version:
        hop = next(hop for hop in session.next_hops if hop.version == version)
        yield f"    next hop address {hop};"
    yield "  };"
