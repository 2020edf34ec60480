"""The agent's parts put together: who is given what of whom, asked when it is needed."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pyroute2 import IPRoute

from agent import api_parts, dataplane_parts, node_view, pod_parts, serve_parts
from agent.announce.part import AnnouncedPart
from agent.bgp.part import BgpPart, NoBgpPart
from agent.cni.first_configuration import FirstConfiguration
from agent.cni.install import Installation
from agent.cni.socket import SOCKET, CniSocket
from agent.compile.announce import Announcement
from agent.core import Core
from agent.kernel.device.afxdp import AfXdp, AfXdpPart
from agent.kernel.device.vf_programs import VfPrograms, VfProgramsPart
from agent.kernel.kube_proxy.replacement import Replacement
from agent.kernel.net.drift import DriftWatch
from agent.kernel.net.vlan_offload import VlanOffload
from agent.kernel.programs.start import Started
from agent.kernel.xdp import XdpPart
from agent.model.cluster import Cluster
from agent.model.local import Device
from agent.options.choices import PodNetwork, ServiceProxy
from agent.options.config import Options
from agent.pod_parts import PodParts
from agent.prepare import Prepared
from agent.reconcile.loop import Loop
from agent.reconcile.parts import Part
from agent.reconcile.status import Status
from agent.serve.flow_shares import FlowShares
from agent.serve.health_ports import HealthPorts, HealthPortsPart
from agent.serve.http import HttpServer
from agent.serve.interface_problems import InterfaceProblems
from agent.serve.metrics import Metrics
from agent.serve_parts import Reporters
from agent.threads import Threads
from agent.watch.mirror import Mirror, OnCluster
from agent.watch.node.denied import DeniedSource
from agent.watch.node.local import LocalSource
from agent.watch.node.masquerade import MasqueradeFile
from agent.watch.source import expected, sources
from maps import paths
from maps.registry import open_agent_tables

if TYPE_CHECKING:
    from agent.announce.announcer import Announcer
    from agent.bgp.accepted_status import AcceptedWriter
    from agent.bgp.keeper import Keeper
    from agent.bgp.peer_status import PeerStatusWriter
    from agent.ipam.lb_allocator import Allocator
    from agent.kube.servers import Servers
    from agent.watch.node.bgp_neighbour import NeighbourSource
    from agent.watch.node.bgp_password import PasswordSource


@dataclass(frozen=True, slots=True)
class Parts:
    """A whole agent."""

    core: Core
    local: LocalSource
    denied: DeniedSource | None  # without a file nothing is denied
    drift: DriftWatch
    servers: "Servers | None"  # where more than one API server may be asked
    pods: PodParts
    cni_socket: CniSocket
    afxdp: AfXdp
    http: HttpServer
    health: HealthPorts | None  # not where kube-proxy answers
    shares: FlowShares
    interface_problems: InterfaceProblems
    reporters: Reporters
    allocator: "Allocator | None"  # where this node takes part in allocating load balancers' addresses
    bgp: "Keeper | None"  # where this node speaks BGP
    bgp_passwords: "PasswordSource | None"
    bgp_neighbours: "NeighbourSource | None"
    bgp_status: "PeerStatusWriter | None"  # where there is an API server to write to
    bgp_accepted: "AcceptedWriter | None"
    announcer: "Announcer | None"  # where this node announces addresses on its subnets
    replacement: Replacement | None  # where what kube-proxy left is to go
    first: FirstConfiguration | None  # where new pods are to come to our plugin
    plugin: Installation | None  # which the agent is to install: services work without it, new pods do not

    def status(self) -> Status:
        """How the loop fares, and what else is in the way.

        Before its first sync with what is wrong in the objects that it waits with.
        """
        status, cluster = self.core.loop.status(), self.core.mirror.cluster
        problems = status.problems if status.synced else cluster.problems
        more = (*(self.health.problems() if self.health is not None else ()), *self.shares.problems())
        more += self.interface_problems.problems(cluster)
        more += self.replacement.problems() if self.replacement is not None else ()
        more += self.first.problems() if self.first is not None else ()
        more += self.plugin.problems(self.core.options.node_name) if self.plugin is not None else ()
        if cluster.synced:
            more += (*self.pods.networks.problems(), *self.pods.hot_plug.problems)
        if more:
            problems = (*problems, *more)
        return status if problems is status.problems else replace(status, problems=problems)

    def uplinks(self) -> tuple[Device, ...]:
        """The uplinks of this moment."""
        return node_view.uplinks_of(self.core.options, self.core.mirror)


def assemble(options: Options, prepared: Prepared, kernel: Started, netlink: IPRoute) -> Parts:
    """Make the parts on a datapath that is loaded; none has begun."""
    tables = open_agent_tables(kernel.move.new.maps)
    settings = dataplane_parts.settings(options, netlink, tables)
    threads, metrics = Threads(), Metrics()
    serves = options.served is ServiceProxy.ON
    health = serve_parts.health(options, threads, lambda: (loop.pending_s(), mirror.cluster)) if serves else None
    announced: list[Callable[[frozenset[Announcement]], None]] = []  # who is told, once there is one
    xdp = XdpPart(kernel.xdp, VlanOffload(options.state_dir), options.xdp, has_moved=kernel.moved.is_set, serves=serves)
    afxdp = AfXdp(lambda: kernel.xdp_pod, options.pin_root, options.run_dir, threads)
    on_vfs = VfPrograms(kernel.tc_vf, kernel.pins.vfs)
    more: tuple[Part, ...] = (
        xdp,
        AfXdpPart(afxdp),
        VfProgramsPart(on_vfs, has_moved=kernel.moved.is_set),
        AnnouncedPart(lambda told: [tell(told) for tell in announced]),
    )
    if health is not None:
        more = (*more, HealthPortsPart(health.serve, options.nodeport_addresses))
    bgp = api_parts.bgp(options, threads, lambda problems: mirror.report("bgp", problems), lambda: cluster.events)
    more = (*more, BgpPart(bgp) if bgp is not None else NoBgpPart(options.run_dir))
    loop = Loop(
        dataplane_parts.dataplane(tables, kernel, netlink, settings, more, changes_node=options.changes_node),
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
    core = Core(options, prepared, kernel, threads, loop, mirror, cluster)
    allocator = api_parts.allocator(options, prepared, mirror, cluster, threads)
    announcer = api_parts.announcer(options, prepared, mirror, kernel, threads)
    if announcer:
        announced.append(announcer.announce)
    pods = pod_parts.pods(core, tables, afxdp, on_vfs)
    on_all = (loop.offer, pods.hot_plug.offer, pods.masters.offer)
    offers: tuple[OnCluster, ...] = (*on_all, *((allocator.offer,) if allocator else ()))
    has_multi = settings.multi_network_policy
    shares = FlowShares(kernel.move.new.maps, options.node_name, pods.cni.attachments)
    metrics.read_from(serve_parts.metric_sources(core, pods, shares, afxdp, allocator=allocator, bgp=bgp))
    return Parts(
        core=core,
        local=LocalSource(mirror, MasqueradeFile(options.masquerade_config), threads),
        denied=_denied(options, mirror, threads),
        drift=DriftWatch(lambda: node_view.kept(options, mirror, loop), loop.resync_watched, threads),
        servers=api_parts.servers(options, prepared, loop, threads),
        pods=pods,
        afxdp=afxdp,
        cni_socket=CniSocket(options.run_dir, pods.cni.answer, metrics.observe_cni, threads),
        health=health,
        shares=shares,
        interface_problems=InterfaceProblems(
            pods.vfs, pods.nics, pods.interfaces, options.node_name, has_multi=has_multi
        ),
        http=HttpServer(prepared.listener, metrics.registry, threads, ready=core.not_ready, alive=threads.trouble),
        reporters=serve_parts.reporters(core, pods, settings),
        allocator=allocator,
        announcer=announcer,
        bgp=bgp,
        bgp_status=api_parts.bgp_status(options, prepared, threads),
        bgp_accepted=api_parts.bgp_accepted(options, prepared, threads),
        bgp_neighbours=api_parts.bgp_neighbours(options, mirror, bgp, threads),
        bgp_passwords=api_parts.bgp_passwords(options, mirror, threads),
        replacement=_replacement(core),
        first=_first(options),
        plugin=_plugin(options),
    )


def _replacement(core: Core) -> Replacement | None:
    """Who takes away what kube-proxy left, once the node is ready."""
    options = core.options
    if not options.replace_kube_proxy:
        return None
    return Replacement(options.node_name, options.node_port_range, lambda: not core.not_ready(), core.threads)


def _first(options: Options) -> FirstConfiguration | None:
    """Who sees that new pods come to our plugin, where it is installed for a duty that pods have to come to it for."""
    if not (options.install_cni and options.changes_node):
        return None
    is_chained = options.network is PodNetwork.CHAINED
    return FirstConfiguration(options.cni_conf_dir, options.node_name, is_chained=is_chained)


def _plugin(options: Options) -> Installation | None:
    if not options.install_cni:
        return None
    return Installation(
        paths.cni_binary(),
        options.cni_bin_dir,
        options.cni_conf_dir,
        options.run_dir / SOCKET,
        is_chained=options.network is PodNetwork.CHAINED,
    )


def _offer(cluster: Cluster, offers: Iterable[OnCluster]) -> None:
    for offer in offers:
        offer(cluster)


def _denied(options: Options, mirror: Mirror, threads: Threads) -> DeniedSource | None:
    path = options.xdp_deny_cidrs_file
    return DeniedSource(path, mirror, threads) if path else None
