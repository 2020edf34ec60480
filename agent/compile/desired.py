"""The whole of compile in one function: what a Cluster asks of this node, as owners' records and what is no map.

Owners whose inputs are the identical objects keep their identical records, so a change costs what changed.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from agent.compile.announce import (
    Announcement,
    announced,
    announced_records,
    has_same_announcers,
    has_same_own,
    has_same_places,
)
from agent.compile.bgp.bgp import OFF as BGP_OFF
from agent.compile.bgp.bgp import Bgp, bgp
from agent.compile.changes import same
from agent.compile.context import NodeContext, node_context
from agent.compile.denied import OWNER as DENIED
from agent.compile.denied import denied_records
from agent.compile.endpoint import attachment_records
from agent.compile.forwarding import with_forwarding
from agent.compile.host_port import host_port_services
from agent.compile.ids import IdBook, Ids
from agent.compile.node import node_owner, node_problems, node_records
from agent.compile.pod_policy import has_rule_sets, held_back
from agent.compile.policy import policies, waiting
from agent.compile.policy_problems import crowd_problems, network_problems, policy_problems
from agent.compile.policy_state import Policies
from agent.compile.records import NOTHING, Owner, Records
from agent.compile.remote import Remotes, remotes, vantage
from agent.compile.remote import update as remote_update
from agent.compile.route import Route
from agent.compile.routed_range import RoutedRanges, routed_ranges
from agent.compile.routed_range import update as routed_update
from agent.compile.service_device import with_room
from agent.compile.services import Services, services
from agent.compile.services import Update as ServiceUpdate
from agent.compile.settings import Settings
from agent.compile.tunnel import Tunnel, tunnel_links
from agent.compile.uplink import Ways, uplinks, ways
from agent.model.address import Network
from agent.model.attachment import Attachment, AttachmentKey
from agent.model.cluster import Cluster
from agent.model.local import Device
from agent.model.name import ObjectName, Problem
from agent.model.node import Node
from agent.options.choices import L2Announce, ServiceProxy

Problems = Mapping[Owner, tuple[Problem, ...]]
NO_ROUTES: Mapping[Network, Route] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Desired:
    """What a Cluster asks of this node.

    Once *synced* the maps are to hold exactly what *owners* have; before, that and whatever else they hold.
    *changed* are the owners whose records are not the identical ones of the Desired that this one was made from.
    """

    owners: Mapping[Owner, Records] = field(default_factory=dict)
    changed: frozenset[Owner] = frozenset()
    synced: bool = False
    attachments: Mapping[AttachmentKey, Attachment] = field(default_factory=dict)
    devices: tuple[Device, ...] = ()  # of the node
    uplinks: tuple[Device, ...] = ()
    tunnel: Tunnel | None = None
    forwards: bool = False  # some client outside may keep its address on the way to other nodes
    announced: frozenset[Announcement] = frozenset()  # by this node, on its uplinks' subnets
    bgp: Bgp = BGP_OFF
    pod_mtu: int = 0  # not known, or other plugins' business
    routes: Mapping[Network, Route] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    # what the next one is made from
    source: Cluster = field(default_factory=Cluster)
    context: NodeContext = field(default_factory=NodeContext)
    services: Services = field(default_factory=Services)
    remotes: Remotes = field(default_factory=Remotes)
    routed: RoutedRanges = field(default_factory=RoutedRanges)
    policies: Policies = field(default_factory=Policies)
    ids: Ids = field(default_factory=Ids)
    owner_problems: Problems = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a Desired is made of: what there is now, and the one before."""

    cluster: Cluster
    settings: Settings
    node: Node
    context: NodeContext
    attachments: Mapping[AttachmentKey, Attachment]
    before: Desired


def desired(cluster: Cluster, settings: Settings, before: Desired, *, settle: bool = False) -> Desired:
    """What this node is asked for; *before* is what the latest call made, or has the ids that the maps hold.

    *settle*: the maps hold *before*, and what was only for the way there goes.
    """
    asked = _asked(cluster, settings, before)
    judged, policy_records = _policies(asked, settle=settle)
    made = attachment_records(asked.attachments, before.attachments, judged.pods, before.policies.pods)
    made |= policy_records
    if cluster.synced and (judged.is_known or before.synced):
        return _whole(asked, judged, made)
    made |= _node(asked, before.bgp)
    now = replace(
        before,
        source=cluster,
        context=asked.context,
        attachments=asked.attachments,
        devices=cluster.local.devices,
        policies=judged,
    )
    return _assembled(now, made, {}, before)


def _asked(cluster: Cluster, settings: Settings, before: Desired) -> _Asked:
    """What there is now, with what is the same as before being the identical value."""
    local, attachments = cluster.local, _attachments(cluster, settings, before)
    node = cluster.nodes.get(settings.node_name, before.context.node)  # a Node that is deleted leaves its pods running
    node = node if node.name else Node(settings.node_name)
    own = replace(local, devices=with_room(local.devices, settings))
    made = node_context(node, own, attachments, settings.forwarding, settings.node_port_addresses)
    context = same(before.context, made)
    source = before.source if before.synced else None
    settings = with_forwarding(cluster, settings, source, forwards=before.forwards)
    return _Asked(cluster, settings, node, context, attachments, before)


def _whole(asked: _Asked, judged: Policies, made: dict[Owner, Records]) -> Desired:
    """All that a whole cluster asks of this node; *made* are the records of its pods."""
    cluster, settings, context, before = asked.cluster, asked.settings, asked.context, asked.before
    reached, remote_records, remote_problems = _reached(asked)
    unserved = before.services.shares.refused
    router = _router(asked, reached, unserved)
    served, update, ids = _served(asked, router)
    if served.shares.refused != unserved:  # who has a place follows from whether BGP tells of cluster IPs
        router = _router(asked, reached, served.shares.refused)
    routed = routed_ranges(cluster, context, served.claimants, asked.attachments, before.routed)
    routed_records, routed_problems = routed_update(routed, before.routed)
    found = ways(settings, asked.node, cluster.local.devices, reached.overhead, router.interfaces)
    told = before.announced
    if _may_announce(asked, found.uplinks, served):
        told = announced(cluster, settings, found.uplinks, served.shares.refused)
    made |= update.records
    made |= remote_records
    made |= routed_records
    if told is not before.announced:
        made |= announced_records(told, settings, before.owners)
    made |= _node(asked, router)
    if cluster.denied is not before.source.denied or not before.synced:
        made[DENIED] = denied_records(cluster.denied)
    now = Desired(
        synced=True,
        attachments=asked.attachments,
        devices=cluster.local.devices,
        uplinks=found.uplinks,
        announced=told,
        bgp=router,
        tunnel=found.tunnel,
        forwards=settings.network.forwards,
        pod_mtu=found.pod_mtu,
        routes=NO_ROUTES if settings.is_chained else _routes(reached, routed, before),
        source=cluster,
        context=context,
        services=served,
        remotes=reached,
        routed=routed,
        policies=judged,
        ids=ids,
    )
    problems = {**update.problems, **remote_problems, **routed_problems}
    problems |= _node_problems(asked, found, router)
    problems |= _policy_problems(asked, judged)
    return _assembled(now, made, problems, before)


def _reached(asked: _Asked) -> tuple[Remotes, Mapping[Owner, Records], Problems]:
    """The other nodes, the records of those that differ, and what is wrong with them."""
    cluster, before, local = asked.cluster, asked.before, asked.cluster.local
    known = before.remotes if before.synced else replace(before.remotes, ids=before.ids.remotes)
    seen = vantage(asked.node, local, asked.settings.network)
    return remote_update(remotes(cluster.nodes, seen, local.not_masqueraded, known), known)


def _router(asked: _Asked, reached: Remotes, unserved: Collection[ObjectName]) -> Bgp:
    """What BIRD is to speak, where this node speaks BGP."""
    cluster, settings = asked.cluster, asked.settings
    if not settings.bgp:
        return BGP_OFF
    ranges, old = settings.public_ranges, asked.before.bgp
    seen = reached.vantage
    try:
        return bgp(cluster, settings.bgp, ranges, settings.node_name, old, reached.tunnelled, seen.subnets, unserved)
    except Exception as error:  # noqa: BLE001  whatever it is, Services and pods follow
        text = f"BGP cannot be made of what there is, and stays as it was: {type(error).__name__}: {error}"
        problem = Problem("Node", ObjectName("", settings.node_name), "--router", text)
        return old if problem in old.problems else replace(old, problems=(*old.problems, problem))


def _served(asked: _Asked, router: Bgp) -> tuple[Services, ServiceUpdate, Ids]:
    """The services, those that differ, and the ids that their backends have."""
    settings, context, before = asked.settings, asked.context, asked.before
    book = IdBook(before.ids)
    served, update = services(
        asked.cluster,
        host_port_services(
            asked.attachments.values(), context.addresses, settings.node_name, before.services.host_ports
        ),
        context,
        before.services,
        book,
        settings.public_ranges,
        serves=settings.service_proxy is not ServiceProxy.OFF,
        told=router.settings.cluster_ips if router.settings else None,
        node_ports=settings.node_ports,
        room=settings.service_room,
    )
    if not before.synced:
        book.keep(label for records in served.records.values() for label in records.sets)
    return served, update, book.ids()


def _node_problems(asked: _Asked, found: Ways, router: Bgp) -> Problems:
    """What is wrong with this node."""
    settings = asked.settings
    own = node_problems(settings, asked.cluster.local, asked.node, found.uplinks, found.unserved)
    return {node_owner(settings): (*own, *router.problems)}


def _policy_problems(asked: _Asked, judged: Policies) -> Problems:
    """What is wrong with policies, and with the networks that MultiNetworkPolicies are for."""
    cluster, before = asked.cluster, asked.before
    source = before.source if before.synced else None
    named = policy_problems(judged, before.policies, cluster.listed, source.listed if source else None)
    named = {**named, **crowd_problems(judged, before.policies if source else None)}
    return {**named, **network_problems(cluster, source)} if asked.settings.multi_network_policy else named


def held_back_first(cluster: Cluster, settings: Settings, before: Desired) -> Desired:
    """What is written before an agent's first Desired of a whole cluster, if anything; see pod_policy.held_back()."""
    if before.synced or not cluster.synced or not has_rule_sets(before.policies.pods):
        return replace(before, changed=frozenset())
    attachments = _attachments(cluster, settings, before)
    # which sets pods have does not depend on the node's own addresses
    judged, _ = policies(cluster, settings, frozenset(), attachments, before.policies)
    pods = held_back(before.policies.pods, judged.pods) if judged.is_known else {}
    ours = {key: attachments[key] for key in pods}
    made = attachment_records(ours, {}, pods, {})
    policies_now = replace(before.policies, pods={**before.policies.pods, **pods})
    return _assembled(replace(before, policies=policies_now), made, {}, before)


def _attachments(cluster: Cluster, settings: Settings, before: Desired) -> Mapping[AttachmentKey, Attachment]:
    """Without MultiNetworkPolicies, which nobody watches then, further interfaces are as pods' first ones."""
    if cluster.local.attachments is before.source.local.attachments:
        return before.attachments
    every = cluster.local.attachments
    if not settings.multi_network_policy:
        every = tuple(one if one.network is None else replace(one, network=None) for one in every)
    return {attachment.key: attachment for attachment in every}


def _policies(asked: _Asked, *, settle: bool) -> tuple[Policies, dict[Owner, Records]]:
    """The policies of now. What an earlier agent said of its pods holds until all is known that this one judges by."""
    cluster, attachments, before = asked.cluster, asked.attachments, asked.before.policies
    if not cluster.synced:
        return waiting(attachments, before), {}
    return policies(cluster, asked.settings, asked.context.addresses, attachments, before, settle=settle)


def _node(asked: _Asked, router: Bgp) -> dict[Owner, Records]:
    """The node's own records; none while neither its object nor its devices have been heard of."""
    cluster, settings, context, local = asked.cluster, asked.settings, asked.context, asked.cluster.local
    is_known = cluster.synced or (settings.node_name in cluster.nodes and local.netns_cookie != 0)
    if not is_known:
        return {}
    links = tunnel_links(settings.network, local.devices)
    devices = uplinks(
        settings.devices,
        context.node,
        local.devices,
        with_overlays=settings.serves_over_others,
        peered=router.interfaces,
    )
    owner, made = node_owner(settings), node_records(context, local, settings, links, devices)
    return {} if asked.before.owners.get(owner) == made else {owner: made}


def _may_announce(asked: _Asked, found: tuple[Device, ...], served: Services) -> bool:
    """Whether what this node announces may be other than before; a walk over all services is not for each change."""
    cluster, before, old = asked.cluster, asked.before, asked.before.source
    return asked.settings.l2_announce is not L2Announce.OFF and not (
        before.synced
        and cluster.services is old.services
        and has_same_announcers(cluster, old, asked.settings)
        and found == before.uplinks
        and served.shares.refused is before.services.shares.refused
        and has_same_own(cluster, old)
        and has_same_places(cluster, old, asked.settings)
    )


def _routes(reached: Remotes, routed: RoutedRanges, before: Desired) -> Mapping[Network, Route]:
    """The kernel's routes to other nodes' pods, and to whoever is behind pods of this node; the same while they are."""
    if reached.routes is before.remotes.routes and routed.routes is before.routed.routes and before.synced:
        return before.routes
    return {**reached.routes, **routed.routes} if routed.routes else reached.routes


def _assembled(now: Desired, made: Mapping[Owner, Records], problems: Problems, before: Desired) -> Desired:
    """*now*, with the owners and problems that differ from before laid over those."""
    owners = before.owners
    if made:
        owners = kept = dict(before.owners)
        for owner, records in made.items():
            if records is NOTHING:
                kept.pop(owner, None)
            else:
                kept[owner] = records
    owner_problems = before.owner_problems
    if any(before.owner_problems.get(owner, ()) != found for owner, found in problems.items()):
        owner_problems = {**owner_problems, **problems}
        owner_problems = {owner: found for owner, found in owner_problems.items() if found}
    told = before.problems
    if owner_problems is not before.owner_problems or now.source.problems is not before.source.problems:
        told = (*now.source.problems, *(problem for found in owner_problems.values() for problem in found))
    return replace(now, owners=owners, changed=frozenset(made), problems=told, owner_problems=owner_problems)
