"""The agent's parts put together: who is given what of whom, asked when it is needed."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from pyroute2 import IPRoute

from agent import api_parts, network_parts, node_view
from agent.announce.part import AnnouncedPart
from agent.bgp.part import BgpPart
from agent.cni.check import RecordCheck
from agent.cni.commands import Cni
from agent.cni.hot_plug import HotPlug
from agent.cni.in_process import InProcess
from agent.cni.interfaces import OwnInterfaces
from agent.cni.ipam_commands import IpamInProcess
from agent.cni.networks import PodNetworks
from agent.cni.socket import CniSocket
from agent.cni.vf_commands import VfCommands
from agent.compile.announce import Announcement
from agent.compile.bgp.settings import bgp_settings
from agent.compile.settings import Settings
from agent.ipam.pool import Ipam
from agent.kernel.device.afxdp import AfXdp, AfXdpPart
from agent.kernel.device.vf_programs import VfPrograms, VfProgramsPart
from agent.kernel.kube_proxy.replacement import Replacement
from agent.kernel.net.drift import DriftWatch
from agent.kernel.net.routes import Routes
from agent.kernel.net.tunnel import TunnelDevice
from agent.kernel.net.vlan_offload import VlanOffload
from agent.kernel.parts import (
    PodProgramsPart,
    ReservedPortsPart,
    RoutesPart,
    TunnelPart,
    TunnelRemovalPart,
    UplinksPart,
    VethsPart,
)
from agent.kernel.policy_counters import PolicyCountersPart
from agent.kernel.programs.hooks import POD, UPLINK, UPLINK_IN
from agent.kernel.programs.start import Started
from agent.kernel.xdp import XdpPart
from agent.model.cluster import Cluster
from agent.model.local import Device
from agent.options.choices import PodNetwork, ServiceProxy
from agent.options.config import Options
from agent.options.values import NOWHERE
from agent.pods.attachments import boot_id
from agent.pods.chained import ChainedVeths
from agent.pods.earlier import EarlierPods
from agent.pods.imported import Imported
from agent.pods.journal import Journal
from agent.pods.known import KnownAttachments
from agent.pods.libcni import kept_attachments
from agent.pods.network_collector import NetworkCollector
from agent.pods.pods import Pods
from agent.pods.veth import PodVeths
from agent.pods.veth_batch import BeforeUp
from agent.pods.vf.guards import VfGuards
from agent.prepare import Prepared
from agent.reconcile.loop import Loop
from agent.reconcile.parts import Dataplane, Part
from agent.reconcile.status import Status
from agent.serve import health as readiness
from agent.serve import telemetry
from agent.serve.afxdp_metrics import afxdp_uses
from agent.serve.announce_report import AnnounceReporter
from agent.serve.bgp_report import BgpReporter
from agent.serve.flow_shares import FlowShares
from agent.serve.health_ports import Health, HealthPorts, HealthPortsPart, is_eligible
from agent.serve.http import HttpServer
from agent.serve.interface_metrics import interface_uses
from agent.serve.interface_problems import InterfaceProblems
from agent.serve.ip_pool_report import IpPoolReporter
from agent.serve.metrics import Metrics, WatchUse
from agent.serve.policy_report import PolicyReporter
from agent.serve.report import Reporter
from agent.threads import Threads
from agent.watch.mirror import Mirror, OnCluster
from agent.watch.node.denied import DeniedSource
from agent.watch.node.local import LocalSource
from agent.watch.node.masquerade import MasqueradeFile
from agent.watch.source import Sources, expected, sources
from maps import abi
from maps.apply import AnyTable
from maps.registry import open_agent_tables, open_table

if TYPE_CHECKING:
    from agent.announce.announcer import Announcer
    from agent.bgp.keeper import Keeper
    from agent.bgp.peer_status import PeerStatusWriter
    from agent.ipam.block_keeper import BlockKeeper
    from agent.ipam.lb_allocator import Allocator
    from agent.kube.network_status import NetworkStatusWriter
    from agent.kube.servers import Servers
    from agent.watch.node.bgp_neighbour import NeighbourSource
    from agent.watch.node.bgp_password import PasswordSource

ATTACHMENTS = "attachments"  # folder in --state-dir


@dataclass(frozen=True, slots=True)
class Parts:
    """A whole agent."""

    options: Options
    threads: Threads
    kernel: Started
    mirror: Mirror
    loop: Loop
    local: LocalSource
    denied: DeniedSource | None  # without a file nothing is denied
    drift: DriftWatch
    sources: Sources
    servers: "Servers | None"  # where more than one API server may be asked
    cni: Cni
    networks: PodNetworks
    collector: NetworkCollector
    hot_plug: HotPlug
    network_status: "NetworkStatusWriter | None"  # where there is an API server to write to
    earlier: EarlierPods | None  # where other plugins make the pods' network
    cni_socket: CniSocket
    afxdp: AfXdp
    http: HttpServer
    health: HealthPorts | None  # not where kube-proxy answers
    shares: FlowShares
    interface_problems: InterfaceProblems
    metrics: Metrics
    reporter: Reporter
    policy_reporter: PolicyReporter
    announce_reporter: AnnounceReporter
    bgp_reporter: BgpReporter
    ip_pool_reporter: IpPoolReporter | None  # where pods have addresses of pools
    keeper: "BlockKeeper | None"  # where this node claims blocks of pools
    allocator: "Allocator | None"  # where this node takes part in allocating load balancers' addresses

    bgp: "Keeper | None"  # where this node speaks BGP
    bgp_passwords: "PasswordSource | None"
    bgp_neighbours: "NeighbourSource | None"
    bgp_status: "PeerStatusWriter | None"  # where there is an API server to write to
    announcer: "Announcer | None"  # where this node announces addresses on its subnets
    replacement: Replacement | None  # where what kube-proxy left is to go

    def waits_for(self) -> tuple[str, ...]:
        """What has not been listed yet, and why."""
        return readiness.waits_for(self.mirror.missing(), self.sources.objects.status())

    def status(self) -> Status:
        """How the loop fares, and what else is in the way.

        Before its first sync with what is wrong in the objects that it waits with.
        """
        status = self.loop.status()
        problems = status.problems if status.synced else self.mirror.cluster.problems
        more = (*(self.health.problems() if self.health is not None else ()), *self.shares.problems())
        more += self.interface_problems.problems(self.mirror.cluster)
        more += self.replacement.problems() if self.replacement is not None else ()
        if self.mirror.cluster.synced:
            more += (*self.networks.problems(), *self.hot_plug.problems)
        if more:
            problems = (*problems, *more)
        return status if problems is status.problems else replace(status, problems=problems)

    def uplinks(self) -> tuple[Device, ...]:
        """The uplinks of this moment."""
        return node_view.uplinks_of(self.options, self.mirror)


def assemble(options: Options, prepared: Prepared, kernel: Started, netlink: IPRoute) -> Parts:
    """Make the parts on a datapath that is loaded; none has begun."""
    network, is_chained = node_view.network(options, netlink), options.network is PodNetwork.CHAINED
    tables = open_agent_tables(kernel.move.new.maps)
    settings = Settings(
        options.node_name,
        options.node_port_range,
        options.devices,
        network,
        knows_pods=options.install_cni or is_chained,
        network_policy=options.network_policy,
        multi_network_policy=options.network_policy and options.networks,
        policy_reject=options.policy_reject,
        peer_room=tables["peers"].max_entries,
        range_room=tables["peer_ranges"].max_entries,
        pods_from_api=not options.manifests,
        is_chained=is_chained,
        service_proxy=options.served,
        l2_announce=options.l2_announce,
        node_port_addresses=options.nodeport_addresses,
        public_ranges=node_view.public_ranges(options),
        forwarding=options.forwarding,
        bgp=bgp_settings(options),
    )
    threads, metrics = Threads(), Metrics()
    serves = options.served is ServiceProxy.ON
    health = _health(options, threads, lambda: (loop.pending_s(), mirror.cluster)) if serves else None
    announced: list[Callable[[frozenset[Announcement]], None]] = []  # who is told, once there is one
    xdp = XdpPart(kernel.xdp, VlanOffload(options.state_dir), options.xdp, has_moved=kernel.moved.is_set, serves=serves)
    afxdp = AfXdp(lambda: kernel.xdp_pod, options.pin_root, options.run_dir, threads)
    on_vfs = VfPrograms(kernel.tc_vf, kernel.pins.vfs)
    vf_part = VfProgramsPart(on_vfs, has_moved=kernel.moved.is_set)
    more: tuple[Part, ...] = (
        xdp,
        AfXdpPart(afxdp),
        vf_part,
        AnnouncedPart(lambda told: [tell(told) for tell in announced]),
    )
    if health is not None:
        more = (*more, HealthPortsPart(health.serve, options.nodeport_addresses))
    bgp = api_parts.bgp(options, threads, lambda problems: mirror.report("bgp", problems), lambda: cluster.events)
    if bgp is not None:
        more = (*more, BgpPart(bgp))
    dataplane = _dataplane(tables, kernel, netlink, settings, more)
    loop = Loop(
        dataplane,
        settings,
        threads=threads,
        on_sync=metrics.observe_sync,
        on_policy=metrics.observe_policy,
        on_needs_peers=lambda needed: cluster.watch_peers(needed),  # noqa: PLW0108  the source is made below
    )
    mirror = Mirror(
        lambda now: _offer(now, offers),
        expected(options),
        denies=options.xdp_deny_cidrs_file is not None,
        routes=options.router,
    )
    cluster = sources(options, prepared.client, mirror, threads)
    allocator = api_parts.allocator(options, prepared, mirror, cluster, threads)
    announcer = api_parts.announcer(options, prepared, mirror, kernel, threads)
    if announcer:
        announced.append(announcer.announce)
    offers: tuple[OnCluster, ...] = (loop.offer, *((allocator.offer,) if allocator else ()))
    ipam = Ipam(lambda: node_view.pod_cidrs(options, mirror))
    pooled = network_parts.pools(options, prepared, mirror, ipam, threads)
    veths = PodVeths(lambda: node_view.pod_mtus(options, mirror, loop), _before_up(kernel), options.mtu, afxdp)
    others = ChainedVeths(kernel.hooks)
    journal = Journal(options.state_dir / ATTACHMENTS, boot_id())
    network_status = network_parts.status_writer(options, prepared, threads)
    check = RecordCheck(tables, lambda ifindex: kernel.hooks.has(ifindex, POD), loop.records)
    known = KnownAttachments()
    served = Pods(
        known=known,
        pools=pooled.choice,
        unsynced=partial(_unsynced, loop, mirror, cluster),
        loop=loop,
        journal=journal,
        ipam=ipam,
        veths=veths,
        others=others,
        no_address=cluster.no_address,
        imported=Imported(
            options.cni_state_dir, lambda: node_view.imported_cidrs(options, mirror), ipam, node_view.device_names
        ),
    )
    vfs = network_parts.vfs(options, VfGuards(known, loop, on_vfs), IpamInProcess(pooled.ipams))
    own = OwnInterfaces(served, ipam, (veths.faults, check), VfCommands(vfs), is_chained=is_chained)
    networks, plug = network_parts.networks(options, mirror, served, InProcess(own))
    source = network_parts.source(options, prepared, mirror)
    tell = partial(network_parts.tell, network_status)
    hot_plug = HotPlug(
        lambda: mirror.cluster, served, networks, plug, source, boot=boot_id(), on_changed=tell, threads=threads
    )
    pod_networks = PodNetworks(networks, source, boot_id(), (tell, hot_plug.wake))
    offers = (*offers, hot_plug.offer)
    cni = Cni(served, pod_networks, pooled.addresses, own, VfCommands(vfs), ipams=pooled.ipams, is_chained=is_chained)
    earlier = EarlierPods(
        served,
        others,
        lambda: tuple(kept_attachments(options.cni_state_dir)),
        lambda: mirror.cluster.pods,
        loop.attachments,
    )
    watches = partial(_watch_uses, cluster)
    shares = FlowShares(kernel.move.new.maps, options.node_name, cni.attachments)
    metrics.read_from(
        replace(
            telemetry.sources(kernel.move.new, loop, watches, lambda: len(cni.attachments()), pooled.addresses.free),
            afxdp=lambda: afxdp_uses(afxdp.programs, cni.attachments()),
            interfaces=lambda: interface_uses(cni.attachments(), vfs.all(), network_parts.card().counted),
            network_changes=lambda: hot_plug.changes,
            xdp=lambda: telemetry.xdp_uses(loop, kernel.xdp.attached()),
            allocator=lambda: allocator.use if allocator else None,
            bgp=lambda: bgp.state if bgp else None,
            shares=shares.uses,
        )
    )
    ready = partial(_not_ready, loop, kernel, mirror, cluster)
    return Parts(
        options=options,
        threads=threads,
        kernel=kernel,
        mirror=mirror,
        loop=loop,
        local=LocalSource(mirror, MasqueradeFile(options.masquerade_config), threads),
        denied=_denied(options, mirror, threads),
        drift=DriftWatch(lambda: node_view.kept(options, mirror, loop), loop.resync_watched, threads),
        sources=cluster,
        servers=api_parts.servers(options, prepared, loop, threads),
        cni=cni,
        networks=pod_networks,
        collector=NetworkCollector(networks, threads),
        hot_plug=hot_plug,
        network_status=network_status,
        earlier=earlier if is_chained else None,
        afxdp=afxdp,
        cni_socket=CniSocket(options.run_dir, cni.answer, metrics.observe_cni, threads),
        health=health,
        shares=shares,
        interface_problems=InterfaceProblems(vfs, networks, options.node_name, has_multi=settings.multi_network_policy),
        http=HttpServer(prepared.listener, metrics.registry, threads, ready=ready, alive=threads.trouble),
        metrics=metrics,
        reporter=Reporter(options.run_dir, options.pin_root),
        policy_reporter=PolicyReporter(options.run_dir, options.pin_root),
        bgp_reporter=BgpReporter(options.run_dir),
        ip_pool_reporter=_pools_told(options, pooled),
        announce_reporter=AnnounceReporter(options.run_dir, options.pin_root, settings),
        allocator=allocator,
        keeper=pooled.keeper,
        announcer=announcer,
        bgp=bgp,
        bgp_status=api_parts.bgp_status(options, prepared, threads),
        bgp_neighbours=api_parts.bgp_neighbours(options, mirror, threads),
        bgp_passwords=api_parts.bgp_passwords(options, mirror, threads),
        replacement=_replacement(options, ready, threads),
    )


def _replacement(options: Options, ready: Callable[[], str], threads: Threads) -> Replacement | None:
    """Who takes away what kube-proxy left, once the node is ready; *ready* says why it is not."""
    if not options.replace_kube_proxy:
        return None
    return Replacement(options.node_name, options.node_port_range, lambda: not ready(), threads)


def _pools_told(options: Options, pooled: network_parts.PoolParts) -> IpPoolReporter | None:
    """Who tells dpctl of pools."""
    return IpPoolReporter(options.run_dir, options.node_name, pooled.addresses) if options.ip_pools else None


def _offer(cluster: Cluster, offers: Iterable[OnCluster]) -> None:
    for offer in offers:
        offer(cluster)


def _unsynced(loop: Loop, mirror: Mirror, cluster: Sources, wait_s: float) -> str:
    """What is not synced yet, after a wait; empty when all is."""
    if loop.wait_synced(wait_s):
        return ""
    return readiness.unsynced(loop.status(), readiness.waits_for(mirror.missing(), cluster.objects.status()))


def _not_ready(loop: Loop, kernel: Started, mirror: Mirror, cluster: Sources) -> str:
    """Why traffic should not be trusted to this node yet; empty when it may."""
    awaited = readiness.waits_for(mirror.missing(), cluster.objects.status())
    return readiness.not_ready(loop.status(), awaited, is_moved=kernel.moved.is_set(), now_ns=time.monotonic_ns())


def _watch_uses(sources: Sources) -> Iterator[WatchUse]:
    now = time.monotonic()
    for watch in sources.objects.status():
        yield WatchUse(watch.kind, None if watch.heard_at is None else now - watch.heard_at, watch.restarts)


def _before_up(kernel: Started) -> Callable[[str], BeforeUp]:
    """What makes the node's end of a pod's veth fit to come up."""
    guards = kernel.hooks.guards(0, POD)  # 0: of a device that is still to be made
    return lambda name: (kernel.sysctls.pod(name), guards)


def _denied(options: Options, mirror: Mirror, threads: Threads) -> DeniedSource | None:
    path = options.xdp_deny_cidrs_file
    return DeniedSource(path, mirror, threads) if path else None


def _health(options: Options, threads: Threads, now: Callable[[], tuple[float, Cluster]]) -> HealthPorts:
    """The ports at which load balancers ask; *now* says for how long the loop is behind, and what there is."""
    asked = Health(threads.trouble, lambda: now()[0], lambda: is_eligible(now()[1], options.node_name))
    own = options.healthz_bind_address
    return HealthPorts(options.node_name, own if own != NOWHERE else None, asked, threads)


def _dataplane(
    tables: Mapping[str, AnyTable],
    kernel: Started,
    netlink: IPRoute,
    settings: Settings,
    more: tuple[Part, ...],
) -> Dataplane:
    """The maps, and the parts in the order of a round."""
    counters = open_table(abi.POLICY_COUNTERS, kernel.move.new.maps)
    device = TunnelDevice(netlink, kernel.sysctls)
    pod_programs = PodProgramsPart(kernel.hooks, has_moved=kernel.moved.is_set)
    serves = settings.service_proxy is ServiceProxy.ON
    parts: tuple[Part, ...] = (
        TunnelPart(device, kernel.hooks),
        pod_programs,
        PolicyCountersPart(tables[abi.POLICIES.name], counters),
        UplinksPart(kernel.hooks, kernel.sysctls, _uplink_programs(settings), is_chained=settings.is_chained),
        ReservedPortsPart(kernel.sysctls, *((settings.node_ports,) if serves else ())),
        RoutesPart(Routes(), settings.network),
        TunnelRemovalPart(device),
        VethsPart(),
        *more,
    )
    return Dataplane(tables, parts, pod_programs)


def _uplink_programs(settings: Settings) -> tuple[str, ...]:
    """Which programs the node's devices have: both but over another's network, where kube-proxy may serve."""
    if not settings.is_chained or settings.service_proxy is ServiceProxy.ON:
        return UPLINK
    is_judged = settings.network_policy or settings.service_proxy is ServiceProxy.PODS
    return UPLINK_IN if is_judged else ()
