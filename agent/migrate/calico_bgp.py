"""Calico's BGPConfigurations, BGPPeers and BGPFilters, as ours of these names; Nodes' annotations are told of.

A peer of which something decides whom it is, or a filter with a rule that cannot be said, is left out whole.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from agent.migrate import calico_bgp_table as tables
from agent.migrate import objects
from agent.migrate.calico_bgp_filter import ALL, as_number, filter_object
from agent.migrate.calico_selector import Unsaid, label_selector, parse
from agent.migrate.objects import CALICO_GROUPS, Objects, leaves, source
from agent.migrate.report import Notes, Object, own_object
from agent.migrate.table import Row, follow, index
from agent.options import values
from agent.watch.decode.bgp_peer import INTERNAL_IP, MOST_LOCAL_AS

KINDS = ("BGPConfiguration", "BGPPeer", "BGPFilter")
HOSTNAME = "kubernetes.io/hostname"
BY_SELECTOR = "peerSelector"  # of a BGPPeer by which nodes are peers of nodes
SERVICES = "calico-service-ranges"  # our BGPFilter of the ranges that Calico tells of
OF_MESH, OF_PEER = PASSWORDS = "nodeMeshPassword", "password"  # fields of BGPConfigurations and BGPPeers
DEFAULT, OF_NODE = "default", "node."  # names of BGPConfigurations
DEFAULT_ASN, BIRDS_HOLD_S, ANY_HOPS = 64512, 240, 64  # as Calico's BIRD has them
ADVERTISED = {
    "serviceClusterIPs": "clusterIPs",
    "serviceExternalIPs": "externalIPs",
    "serviceLoadBalancerIPs": "loadBalancerIPs",
}


def bgp(notes: Notes, found: Objects) -> None:
    """All of it; --router where there is something for it to do."""
    given = {kind: found.of_kind(kind, *CALICO_GROUPS) for kind in KINDS}
    cluster = next((one for one in given["BGPConfiguration"] if objects.name(one) == DEFAULT), {})
    keys = _keys((*given["BGPConfiguration"], *given["BGPPeer"]))
    reflects = any(objects.spec(one).get(BY_SELECTOR) for one in given["BGPPeer"])
    made = [item for one in given["BGPConfiguration"] if (item := _configuration(notes, one, keys, reflects=reflects))]
    made += [item for one in given["BGPFilter"] if (item := filter_object(notes, one))]
    ranges = _ranges(cluster)
    if ranges and given["BGPPeer"]:
        rule = {"action": "Reject", "sources": ["Services"], "exceptPrefixes": [{"cidr": one} for one in ranges]}
        made.append(own_object("BGPFilter", SERVICES, {"export": [rule]}))
    own = objects.spec(cluster).get("asNumber")
    # a filter without a rule changes nothing, and is none of ours: a peer of ours that named it would have no session
    empty = {objects.name(one) for one in given["BGPFilter"] if not any(objects.spec(one).values())}
    services = (SERVICES,) if ranges else ()
    made += [item for one in given["BGPPeer"] if (item := _peer(notes, one, own, services, empty, keys))]
    notes.objects.extend(made)
    if made:
        notes.option("router", "on", "input", "BGP beyond the nodes")
    rows = index(tables.BGP_NODE)
    for node in found.of_kind("Node", ""):
        for name, value in objects.annotations(node).items():
            if name in rows:
                follow(notes, rows[name], value, source(node), f"metadata.annotations['{name}']={value}")


def _tell(notes: Notes, item: Object, rows: Sequence[Row]) -> None:
    """Write down what becomes of each field."""
    known = index(rows)
    for name, value in objects.spec(item).items():
        parts = leaves(value) if isinstance(value, dict) else ()
        whole = ",".join(f"{part}={objects.text(one)}" for part, one in parts) or objects.text(value)
        field = f"spec.{name}={whole}"
        if name in known:
            follow(notes, known[name], whole, source(item), field)
        else:
            notes.missing(source(item), field, "is no field of Calico's that is known here", "see its release's notes")


def _listed(spec: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """A field's mappings."""
    found = spec.get(name)
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


# ---- passwords ---------------------------------------------------------------------------------------------------

Keys = Mapping[tuple[str, str], str]  # of our Secret, by the Secret and its key


def _keys(items: Iterable[Object]) -> Keys:
    """Ours are of one Secret: of keys of one name in several Secrets each has its Secret's name before it."""
    given = dict.fromkeys(ref for item in items for name in PASSWORDS if (ref := _reference(item, name))[1])
    count = Counter(key for _, key in given)
    return {(secret, key): f"{secret}.{key}" if count[key] > 1 else key for secret, key in given}


def _reference(item: Object, name: str) -> tuple[str, str]:
    """The Secret and its key; of none that is given both are empty."""
    found = objects.part(item, "spec", name, "secretKeyRef")
    return str(found.get("name") or ""), str(found.get("key") or "")


# ---- BGPConfiguration ---------------------------------------------------------------------------------------------


def _ranges(item: Object) -> list[str]:
    """All that Services' addresses are told of."""
    spec = objects.spec(item)
    return [str(one.get("cidr")) for name in ADVERTISED for one in _listed(spec, name)]


def _configuration(notes: Notes, item: Object, keys: Keys, *, reflects: bool) -> Object | None:
    """Ours; None where nothing is asked for.

    *reflects*: nodes are peers of reflectors, which are such by annotations here, and none without sessions of nodes.
    """
    _tell(notes, item, tables.BGP_CONFIGURATION)
    name = objects.name(item)
    made: dict[str, Any] = {}
    if name.startswith(OF_NODE):
        made["nodeSelector"] = {"matchLabels": {HOSTNAME: name.removeprefix(OF_NODE)}}
    elif name != DEFAULT:
        notes.missing(source(item), "metadata.name", "is neither default nor of a node", "see what it says")
        return None
    try:
        said = _said(notes, item, reflects=reflects)
    except ValueError as error:
        notes.missing(source(item), "spec", f"{error}; there is no BGPConfiguration for it", "write it by hand")
        return None
    if key := keys.get(_reference(item, OF_MESH)):
        notes.option("bgp-node-password-key", key, source(item), "spec.nodeMeshPassword")
    return own_object("BGPConfiguration", name, made | said) if said else None


def _said(notes: Notes, item: Object, *, reflects: bool) -> dict[str, Any]:
    spec = objects.spec(item)
    made: dict[str, Any] = {}
    if (asn := as_number(spec.get("asNumber"), DEFAULT_ASN)) != DEFAULT_ASN:
        made["asn"] = asn
    if spec.get("nodeToNodeMeshEnabled") is False and not reflects:
        made["nodeMesh"] = False
    if spec.get("listenPort"):
        made["listenPort"] = int(spec["listenPort"])
    if spec.get("nodeMeshMaxRestartTime"):
        made["gracefulRestartTime"] = values.restart_time(str(spec["nodeMeshMaxRestartTime"]))
    if told := _advertisements(notes, item):
        made["prefixAdvertisements"] = told
    return made | _services(spec)


def _services(spec: Mapping[str, Any]) -> dict[str, Any]:
    told = {ours: True for theirs, ours in ADVERTISED.items() if _listed(spec, theirs)}
    if not told:
        return {}
    alone = "serviceLoadBalancerIPs" if spec.get("serviceLoadBalancerAggregation") == "Disabled" else ""
    wide = [str(one.get("cidr")) for name in ADVERTISED if name != alone for one in _listed(spec, name)]
    return {"advertise": told} | ({"aggregates": list(dict.fromkeys(wide))} if wide else {})


def _advertisements(notes: Notes, item: Object) -> list[dict[str, Any]]:
    spec = objects.spec(item)
    numbers = {one.get("name"): str(one.get("value")) for one in _listed(spec, "communities")}
    made = []
    for one in _listed(spec, "prefixAdvertisements"):
        carried = [numbers.get(text, str(text)) for text in one.get("communities") or ()]
        if unknown := [text for text in carried if ":" not in text]:
            field = f"spec.prefixAdvertisements.cidr={one.get('cidr')}"
            notes.missing(source(item), field, f"nothing names the community {unknown[0]}", "give its numbers")
        else:
            made.append({"cidr": str(one.get("cidr")), "communities": carried})
    return made


# ---- BGPPeer ------------------------------------------------------------------------------------------------------


def _peer(  # noqa: PLR0913, PLR0917  all that it is made from
    notes: Notes, item: Object, cluster_asn: object, before: Sequence[str], empty: Collection[str], keys: Keys
) -> Object | None:
    """Ours; None where whom it is, or on which nodes, is said by what we lack.

    The filters *before* go before its own, of which those that are *empty* are left out.
    """
    _tell(notes, item, tables.BGP_PEER)
    spec = objects.spec(item)
    if any(spec.get(name) for name in (BY_SELECTOR, "localWorkloadSelector")):
        return None
    try:
        address, port = _end(str(spec.get("peerIP") or ""))
        own = as_number(cluster_asn, DEFAULT_ASN)
        asn = as_number(spec.get("asNumber"), own)
        made: dict[str, Any] = {"address": address, "asn": asn} | _nodes(spec) | ({"port": port} if port else {})
        made |= _session(spec, is_far=asn != as_number(spec.get("localASNumber"), own))
        if key := keys.get(_reference(item, OF_PEER)):
            made["passwordKey"] = key
    except ValueError as error:
        notes.missing(source(item), "spec", f"{error}; there is no BGPPeer for it", "write it by hand")
        return None
    filters = [*before, *(str(one) for one in spec.get("filters") or () if one not in empty)]
    if filters:
        made["filters"] = filters
    made["import"] = {"prefixes": [dict(ALL[ip_address(address).version])]}  # Calico takes what it is told
    return own_object("BGPPeer", objects.name(item), made)


def _end(text: str) -> tuple[str, int]:
    """The address and port, 0 for BGP's own.

    Raises:
        ValueError: there is no address.
    """
    address, port = text, ""
    if text.startswith("["):
        address, _, port = text[1:].partition("]:")
        address = address.removesuffix("]")
    elif text.count(":") == 1:
        address, _, port = text.partition(":")
    return str(ip_address(address)), int(port or 0)


def _nodes(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Raises Unsaid where label selectors cannot say it."""
    if spec.get("node"):
        return {"nodeSelector": {"matchLabels": {HOSTNAME: str(spec["node"])}}}
    alternatives = parse(str(spec.get("nodeSelector") or "all()"))
    if len(alternatives) != 1:
        raise Unsaid(f"nodeSelector={spec['nodeSelector']} is no label selector")
    return {"nodeSelector": label_selector(alternatives[0])} if alternatives[0] else {}


def _session(spec: Mapping[str, Any], *, is_far: bool) -> dict[str, Any]:
    made: dict[str, Any] = {} if spec.get("sourceAddress") == "None" else {"sourceAddress": INTERNAL_IP}
    if spec.get("localASNumber"):
        made["localASN"] = as_number(spec["localASNumber"], DEFAULT_ASN)
    if spec.get("keepOriginalNextHop") or spec.get("nextHopMode") == "Keep":
        made["nextHopSelf"] = False
    if spec.get("keepaliveTime"):
        keepalive_s = min(values.restart_time(str(spec["keepaliveTime"])), BIRDS_HOLD_S // 2)
        made |= {"keepaliveTime": keepalive_s, "holdTime": BIRDS_HOLD_S}
    if spec.get("maxRestartTime"):
        made["gracefulRestartTime"] = values.restart_time(str(spec["maxRestartTime"]))
    if given := str(spec.get("numAllowedLocalASNumbers") or ""):
        made["allowLocalAS"] = min(int(given), MOST_LOCAL_AS)
    hops = int(spec.get("ttlSecurity") or 0)
    if hops:
        made["ttlSecurity"] = True
    if hops > 1 or (is_far and not hops):
        made["multihop"] = hops or ANY_HOPS
    return made
