"""The whole of compile in one function: what a Cluster asks of this node, as owners' records and what is no map.

Owners whose inputs are the identical objects keep their identical records, so a change costs what changed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from agent.compile.announce import Announcement, announced, announced_records
from agent.compile.bgp.bgp import OFF as BGP_OFF
from agent.compile.bgp.bgp import Bgp, bgp
from agent.compile.changes import same
from agent.compile.context import NodeContext, node_context
from agent.compile.denied import OWNER as DENIED
from agent.compile.denied import denied_records
from agent.compile.endpoint import attachment_records
from agent.compile.host_port import host_port_services
from agent.compile.ids import IdBook, Ids
from agent.compile.node import node_owner, node_problems, node_records
from agent.compile.pod_policy import has_rule_sets, held_back
from agent.compile.policy import policies, waiting
from agent.compile.policy_problems import network_problems, policy_problems
from agent.compile.policy_state import Policies
from agent.compile.records import NOTHING, Owner, Records
from agent.compile.remote import Remotes, remotes, vantage
from agent.compile.remote import update as remote_update
from agent.compile.route import Route
from agent.compile.routed_range import RoutedRanges, routed_ranges
from agent.compile.routed_range import update as routed_update
from agent.compile.services import Services, services
from agent.compile.settings import Settings
from agent.compile.tunnel import NAME, SEGMENTER, Tunnel, pod_mtu, tunnel, tunnel_links
from agent.compile.uplink import uplinks, without_ethernet
from agent.model.address import Network
from agent.model.attachment import Attachment, AttachmentKey
from agent.model.cluster import Cluster
from agent.model.local import Device
from agent.model.name import Problem
from agent.model.node import Node
from agent.options.choices import Forwarding, L2Announce, ServiceProxy

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


def desired(cluster: Cluster, settings: Settings, before: Desired, *, settle: bool = False) -> Desired:
    """What this node is asked for; *before* is what the latest call made, or has the ids that the maps hold.

    *settle*: the maps hold *before*, and what was only for the way there goes.
    """
    local, attachments = cluster.local, _attachments(cluster, settings, before)
    node = cluster.nodes.get(settings.node_name, before.context.node)  # a Node that is deleted leaves its pods running
    node = node if node.name else Node(settings.node_name)
    context = same(before.context, node_context(node, local, attachments, settings.forwarding))
    settings = _with_forwarding(cluster, settings, before)
    judged, policy_records = _policies(cluster, settings, context, attachments, before, settle=settle)
    made = attachment_records(attachments, before.attachments, judged.pods, before.policies.pods)
    made |= policy_records
    if not cluster.synced or not (judged.is_known or before.synced):
        made |= _node(cluster, settings, context, before)
        now = replace(
            before,
            source=cluster,
            context=context,
            attachments=attachments,
            devices=local.devices,
            policies=judged,
        )
        return _assembled(now, made, {}, before)
    host_ports = host_port_services(
        attachments.values(), context.addresses, settings.node_name, before.services.host_ports
    )
    book = IdBook(before.ids)
    serves = settings.service_proxy is not ServiceProxy.OFF
    known = before.remotes if before.synced else replace(before.remotes, ids=before.ids.remotes)
    reached, remote_records, remote_problems = remote_update(
        remotes(cluster.nodes, vantage(node, local, settings.network), local.not_masqueraded, known), known
    )
    router = (
        bgp(cluster, settings.bgp, settings.public_ranges, settings.node_name, before.bgp, reached.tunnelled)
        if settings.bgp
        else BGP_OFF
    )
    tells = router.settings.cluster_ips if router.settings else None
    served, update = services(
        cluster,
        host_ports,
        context,
        before.services,
        book,
        settings.public_ranges,
        serves=serves,
        told=tells,
        node_ports=settings.node_ports,
    )
    if not before.synced:
        book.keep(label for records in served.records.values() for label in records.labels)
    routed = routed_ranges(cluster, context, served.claimants, attachments, before.routed)
    routed_records, routed_problems = routed_update(routed, before.routed)
    found = uplinks(settings.devices, node, local.devices, with_overlays=settings.serves_over_others)
    unserved = without_ethernet(settings.devices, node, local.devices)
    ways = (*found, *unserved)  # by all of them pods' packets leave
    wanted = tunnel(settings.network, reached.overhead, ways)
    made |= update.records
    made |= remote_records
    made |= routed_records
    told = before.announced
    if _may_announce(cluster, settings, found, before):
        told = announced(cluster, settings, found)
    made |= announced_records(told, settings, found, before.owners)
    made |= _node(cluster, settings, context, before)
    if cluster.denied is not before.source.denied or not before.synced:
        made[DENIED] = denied_records(cluster.denied)
    now = Desired(
        synced=True,
        attachments=attachments,
        devices=local.devices,
        uplinks=found,
        announced=told,
        bgp=router,
        tunnel=wanted,
        forwards=settings.network.forwards,
        pod_mtu=0 if settings.is_chained else pod_mtu(settings.network, wanted, ways),
        routes=NO_ROUTES if settings.is_chained else _routes(reached, routed, before),
        source=cluster,
        context=context,
        services=served,
        remotes=reached,
        routed=routed,
        policies=judged,
        ids=book.ids(),
    )
    own = {node_owner(settings): (*node_problems(settings, local, node, found, unserved), *router.problems)}
    named = policy_problems(judged, before.policies, cluster.listed, before.source.listed if before.synced else None)
    if settings.multi_network_policy:
        named = {**named, **network_problems(cluster, before.source if before.synced else None)}
    return _assembled(now, made, {**update.problems, **remote_problems, **routed_problems, **own, **named}, before)


def _with_forwarding(cluster: Cluster, settings: Settings, before: Desired) -> Settings:
    """The settings, with what Services and the option say of clients outside, whom this agent serves."""
    forwards = before.forwards
    if settings.is_chained or settings.service_proxy is not ServiceProxy.ON:
        forwards = False
    elif settings.forwarding is not Forwarding.SNAT:
        forwards = True
    elif not cluster.synced:  # as an agent before this one left it
        forwards = {NAME, SEGMENTER} <= {device.name for device in cluster.local.devices}
    elif not before.synced or cluster.services is not before.source.services:
        forwards = any(one.forwarding not in {None, Forwarding.SNAT} for one in cluster.services.values())
    if forwards == settings.network.forwards:
        return settings
    return replace(settings, network=replace(settings.network, forwards=forwards))


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


def _policies(  # noqa: PLR0913  as desired()
    cluster: Cluster,
    settings: Settings,
    context: NodeContext,
    attachments: Mapping[AttachmentKey, Attachment],
    before: Desired,
    *,
    settle: bool,
) -> tuple[Policies, dict[Owner, Records]]:
    """The policies of now. What an earlier agent said of its pods holds until all is known that this one judges by."""
    if not cluster.synced:
        return waiting(attachments, before.policies), {}
    return policies(cluster, settings, context.addresses, attachments, before.policies, settle=settle)


def _node(cluster: Cluster, settings: Settings, context: NodeContext, before: Desired) -> dict[Owner, Records]:
    """The node's own records; none while neither its object nor its devices have been heard of."""
    local, owner = cluster.local, node_owner(settings)
    is_known = cluster.synced or (settings.node_name in cluster.nodes and local.netns_cookie != 0)
    if not is_known:
        return {}
    links = tunnel_links(settings.network, local.devices)
    devices = uplinks(settings.devices, context.node, local.devices, with_overlays=settings.serves_over_others)
    made = node_records(context, local, settings, links, devices)
    return {} if before.owners.get(owner) == made else {owner: made}


def _may_announce(cluster: Cluster, settings: Settings, found: tuple[Device, ...], before: Desired) -> bool:
    """Whether what this node announces may be other than before; a walk over all services is not for each change."""
    old = before.source
    return settings.l2_announce is not L2Announce.OFF and not (
        before.synced
        and cluster.services is old.services
        and cluster.slices is old.slices
        and cluster.announcers is old.announcers
        and found == before.uplinks
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
