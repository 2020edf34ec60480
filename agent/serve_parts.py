"""The parts that tell how the agent fares: metrics, the reports that dpctl reads, and ports at which others ask."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from agent.compile.settings import Settings
from agent.core import Core
from agent.kernel.device.afxdp import AfXdp
from agent.model.cluster import Cluster
from agent.network_parts import card
from agent.options.config import Options
from agent.options.values import NOWHERE
from agent.pod_parts import PodParts
from agent.serve import telemetry
from agent.serve.afxdp_metrics import afxdp_uses
from agent.serve.announce_report import AnnounceReporter
from agent.serve.bgp_report import BgpReporter
from agent.serve.flow_shares import FlowShares
from agent.serve.health_ports import Health, HealthPorts, is_eligible
from agent.serve.interface_metrics import interface_uses
from agent.serve.ip_pool_report import IpPoolReporter
from agent.serve.metrics import Sources
from agent.serve.policy_report import PolicyReporter
from agent.serve.report import Reporter
from agent.threads import Threads

if TYPE_CHECKING:
    from agent.bgp.keeper import Keeper
    from agent.ipam.lb_allocator import Allocator


@dataclass(frozen=True, slots=True)
class Reporters:
    """Who writes what dpctl reads beside the maps, a file each in --run-dir."""

    status: Reporter
    policy: PolicyReporter
    announce: AnnounceReporter
    bgp: BgpReporter
    ip_pools: IpPoolReporter | None  # where pods have addresses of pools


def reporters(core: Core, pods: PodParts, settings: Settings) -> Reporters:
    """Make them."""
    options = core.options
    folder, pins = options.run_dir, options.pin_root
    return Reporters(
        status=Reporter(folder, pins),
        policy=PolicyReporter(folder, pins),
        announce=AnnounceReporter(folder, pins, settings),
        bgp=BgpReporter(folder),
        ip_pools=IpPoolReporter(folder, options.node_name, pods.pooled.addresses) if options.ip_pools else None,
    )


def health(options: Options, threads: Threads, now: Callable[[], tuple[float, Cluster]]) -> HealthPorts:
    """The ports at which load balancers ask; *now* says for how long the loop is behind, and what there is."""
    asked = Health(threads.trouble, lambda: now()[0], lambda: is_eligible(now()[1], options.node_name))
    own = options.healthz_bind_address
    return HealthPorts(options.node_name, own if own != NOWHERE else None, asked, threads)


def metric_sources(  # noqa: PLR0913  whoever has something to count
    core: Core,
    pods: PodParts,
    shares: FlowShares,
    afxdp: AfXdp,
    *,
    allocator: "Allocator | None",
    bgp: "Keeper | None",
) -> Sources:
    """What is asked when metrics are scraped."""
    loop, kernel, attachments = core.loop, core.kernel, pods.cni.attachments
    free = pods.pooled.addresses.free
    return replace(
        telemetry.sources(kernel.move.new, loop, core.watch_uses, lambda: len(attachments()), free),
        afxdp=lambda: afxdp_uses(afxdp.programs, attachments()),
        interfaces=lambda: interface_uses(attachments(), pods.vfs.all(), card().counted, pods.nics.counted()),
        network_changes=lambda: pods.hot_plug.changes,
        xdp=lambda: telemetry.xdp_uses(loop, kernel.xdp.attached()),
        allocator=lambda: allocator.use if allocator else None,
        bgp=lambda: bgp.state if bgp else None,
        shares=shares.uses,
    )
