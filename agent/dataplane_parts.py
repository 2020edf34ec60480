"""The maps and the parts of a round, made of the loaded datapath; and what the maps are compiled for."""

from collections.abc import Mapping

from pyroute2 import IPRoute

from agent import node_view
from agent.compile.bgp.settings import bgp_settings
from agent.compile.service_room import ServiceRoom
from agent.compile.settings import Settings
from agent.kernel.net.routes import Routes
from agent.kernel.net.tunnel import TunnelDevice
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
from agent.kernel.programs.hooks import UPLINK, UPLINK_IN
from agent.kernel.programs.start import Started
from agent.kernel.sysctls_part import SysctlsPart
from agent.options.choices import PodNetwork, ServiceProxy
from agent.options.config import Options
from agent.reconcile.parts import Dataplane, Part
from maps import abi
from maps.apply import AnyTable
from maps.registry import open_table


def settings(options: Options, netlink: IPRoute, tables: Mapping[str, AnyTable]) -> Settings:
    """What compile must know of the options, of this kernel and of the maps' sizes."""
    is_chained = options.network is PodNetwork.CHAINED
    return Settings(
        options.node_name,
        options.node_port_range,
        options.devices,
        node_view.network(options, netlink),
        knows_pods=options.install_cni or is_chained,
        network_policy=options.network_policy,
        multi_network_policy=options.network_policy and options.networks,
        policy_reject=options.policy_reject,
        peer_room=tables["peers"].max_entries,
        # each may be a class of its own, beside those of pods
        range_room=min(tables["peer_ranges"].max_entries, tables["peer_classes"].max_entries // 2),
        rule_room=tables["rules"].max_entries * 7 // 8,  # the others are for rules of pods
        service_room=ServiceRoom(
            tables["services"].max_entries,
            tables["backends"].max_entries,
            tables["source_ranges"].max_entries,
            tables["maglevs"].max_entries,
            tables["rings"].max_entries,
        ),
        endpoint_room=tables["endpoints"].max_entries,
        pods_from_api=not options.manifests,
        is_chained=is_chained,
        service_proxy=options.served,
        l2_announce=options.l2_announce,
        ignores_excluded=options.ignore_exclude_lb,
        node_port_addresses=options.nodeport_addresses,
        public_ranges=node_view.public_ranges(options),
        forwarding=options.forwarding,
        bgp=bgp_settings(options),
    )


def dataplane(  # noqa: PLR0913  one caller
    tables: Mapping[str, AnyTable],
    kernel: Started,
    netlink: IPRoute,
    settings: Settings,
    more: tuple[Part, ...],
    *,
    changes_node: bool,
) -> Dataplane:
    """The maps, and the parts in the order of a round; *changes_node*: the node's sysctls are among them."""
    counters = open_table(abi.POLICY_COUNTERS, kernel.move.new.maps)
    device = TunnelDevice(netlink, kernel.sysctls)
    pod_programs = PodProgramsPart(kernel.hooks, has_moved=kernel.moved.is_set)
    serves = settings.service_proxy is ServiceProxy.ON
    parts: tuple[Part, ...] = (
        TunnelPart(device, kernel.hooks),
        pod_programs,
        PolicyCountersPart(tables[abi.POLICIES.name], counters),
        *((SysctlsPart(kernel.sysctls),) if changes_node else ()),
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
