"""The parts that answer the CNI plugin: pods' interfaces, their addresses, and the further networks they ask for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from agent import network_parts, node_view
from agent.cni.check import RecordCheck
from agent.cni.commands import Cni
from agent.cni.device_commands import DeviceCommands
from agent.cni.hot_plug import HotPlug
from agent.cni.in_process import InProcess
from agent.cni.interfaces import OwnInterfaces
from agent.cni.ipam_commands import IpamInProcess
from agent.cni.networks import PodNetworks
from agent.core import Core
from agent.ipam.pool import Ipam
from agent.kernel import portmap
from agent.kernel.device.afxdp import AfXdp
from agent.kernel.device.vf_programs import VfPrograms
from agent.kernel.programs.hooks import POD
from agent.kernel.programs.start import Started
from agent.options.choices import PodNetwork
from agent.pods.attachments import boot_id
from agent.pods.chained import ChainedVeths
from agent.pods.device.guards import Guards
from agent.pods.earlier import EarlierPods
from agent.pods.imported import Imported
from agent.pods.journal import Journal
from agent.pods.known import KnownAttachments
from agent.pods.libcni import kept_attachments
from agent.pods.network_collector import NetworkCollector
from agent.pods.networks import Networks
from agent.pods.nic.masters import MasterMacs
from agent.pods.nic.nics import Nics
from agent.pods.pods import Pods
from agent.pods.veth import PodVeths
from agent.pods.veth_batch import BeforeUp
from agent.pods.vf.vfs import Vfs
from maps.apply import AnyTable

if TYPE_CHECKING:
    from agent.kube.network_status import NetworkStatusWriter

ATTACHMENTS = "attachments"  # folder in --state-dir


@dataclass(frozen=True, slots=True)
class PodParts:
    """Whoever gives pods interfaces."""

    cni: Cni
    vfs: Vfs
    nics: Nics
    masters: MasterMacs
    pooled: network_parts.PoolParts
    interfaces: Networks  # the further ones
    networks: PodNetworks
    collector: NetworkCollector
    hot_plug: HotPlug
    network_status: "NetworkStatusWriter | None"  # where there is an API server to write to
    earlier: EarlierPods | None  # where other plugins make the pods' network


def pods(core: Core, tables: Mapping[str, AnyTable], afxdp: AfXdp, on_vfs: VfPrograms) -> PodParts:
    """Make them; *afxdp* and *on_vfs* have programs at the ends that are in pods."""
    options, loop, mirror, threads = core.options, core.loop, core.mirror, core.threads
    is_chained, boot = options.network is PodNetwork.CHAINED, boot_id()
    ipam = Ipam(lambda: node_view.pod_cidrs(options, mirror))
    pooled = network_parts.pools(options, core.prepared, mirror, ipam, threads)
    known, others = KnownAttachments(), ChainedVeths(core.kernel.hooks)
    veths = PodVeths(lambda: node_view.pod_mtus(options, mirror, loop), _before_up(core.kernel), options.mtu, afxdp)
    served = Pods(
        known=known,
        pools=pooled.choice,
        unsynced=core.unsynced,
        loop=loop,
        journal=Journal(options.state_dir / ATTACHMENTS, boot),
        ipam=ipam,
        veths=veths,
        others=others,
        no_address=core.sources.no_address,
        imported=Imported(
            options.cni_state_dir,
            lambda: node_view.imported_cidrs(options, mirror),
            ipam,
            node_view.device_names,
            portmap.remove,
        ),
    )
    check = RecordCheck(tables, lambda ifindex: core.kernel.hooks.has(ifindex, POD), loop.records)
    guards, own_ipam = Guards(known, loop, on_vfs), IpamInProcess(pooled.ipams)
    vfs = network_parts.vfs(options, guards, own_ipam)
    nics = network_parts.nics(options, guards, vfs.hardware, own_ipam, partial(node_view.mac_of, mirror))
    devices = DeviceCommands(vfs, nics)
    own = OwnInterfaces(served, ipam, (veths.faults, check), devices, is_chained=is_chained)
    interfaces, plug = network_parts.networks(options, mirror, served, InProcess(own))
    source = network_parts.source(options, core.prepared, mirror)
    network_status = network_parts.status_writer(options, core.prepared, threads)
    tell = partial(network_parts.tell, network_status)
    hot_plug = HotPlug(
        lambda: mirror.cluster, served, interfaces, plug, source, boot=boot, on_changed=tell, threads=threads
    )
    networks = PodNetworks(interfaces, source, boot, (tell, hot_plug.wake))
    return PodParts(
        cni=Cni(served, networks, pooled.addresses, own, devices, ipams=pooled.ipams, is_chained=is_chained),
        vfs=vfs,
        nics=nics,
        masters=MasterMacs(nics.follow, threads),
        pooled=pooled,
        interfaces=interfaces,
        networks=networks,
        collector=NetworkCollector(interfaces, threads),
        hot_plug=hot_plug,
        network_status=network_status,
        earlier=_earlier(core, served, others) if is_chained else None,
    )


def _earlier(core: Core, served: Pods, others: ChainedVeths) -> EarlierPods:
    """Who takes in the pods that another plugin made before this agent came."""
    kept = partial(kept_attachments, core.options.cni_state_dir)
    return EarlierPods(served, others, lambda: tuple(kept()), lambda: core.mirror.cluster.pods, core.loop.attachments)


def _before_up(kernel: Started) -> Callable[[str], BeforeUp]:
    """What makes the node's end of a pod's veth fit to come up."""
    guards = kernel.hooks.guards(0, POD)  # 0: of a device that is still to be made
    return lambda name: (kernel.sysctls.pod(name), guards)
