"""The parts that give pods further networks, made of the options: plugins, records, and who knows what pods ask for."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING

from agent.cni.ipam_commands import IpamCommands
from agent.cni.network_source import NetworkSource
from agent.cni.socket import SOCKET
from agent.compile.network import Devices
from agent.ipam.pool import Ipam
from agent.ipam.pool_addresses import Claims, FixedBlocks, PoolAddresses
from agent.kernel.device.nic import NodeNics
from agent.kernel.device.pci import PciBus
from agent.kernel.device.sriov import SriovCard
from agent.model.address import Network
from agent.model.name import ObjectName
from agent.model.network import NetworkRules
from agent.options.config import Options
from agent.options.mounts import HOST_ROOT
from agent.pods.attachments import boot_id
from agent.pods.delegate import Delegates, OwnPlugin
from agent.pods.device.claims import claim_addresses
from agent.pods.device.guards import Guards
from agent.pods.device.hardware import Hardware
from agent.pods.device.ipam import DeviceIpam, OwnIpam
from agent.pods.errors import NotSynced
from agent.pods.ip_leases import FOLDER as LEASES
from agent.pods.ip_leases import IpLeases
from agent.pods.network_plug import NetworkPlug
from agent.pods.network_record import FOLDER, NetworkRecords, NetworkSet
from agent.pods.network_routes import PodRoutes
from agent.pods.networks import Networks, is_alive
from agent.pods.nic.nics import Nics
from agent.pods.nic.record import nic_journal
from agent.pods.plugin import Plugins
from agent.pods.pod_devices import Unanswered, devices_of
from agent.pods.pod_links import devices_in
from agent.pods.pods import Pods
from agent.pods.pool_choice import PoolChoice
from agent.pods.vf.files import VfFiles
from agent.pods.vf.record import vf_journal
from agent.pods.vf.vfs import Vfs
from agent.prepare import Prepared
from agent.threads import Threads
from agent.watch.mirror import Mirror

if TYPE_CHECKING:
    from agent.ipam.block_keeper import BlockKeeper
    from agent.kube.network_status import NetworkStatusWriter


def plugins(options: Options) -> Plugins:
    """The node's CNI plugins."""
    return Plugins(options.cni_bin_dir, _root(), options.run_dir / SOCKET)


@dataclass(frozen=True, slots=True)
class PoolParts:
    """What gives pods addresses, of IPPools too where there are some."""

    addresses: PoolAddresses
    choice: PoolChoice | None  # None: there are none
    ipams: IpamCommands
    keeper: "BlockKeeper | None"  # where there is an API server to claim blocks at


def pools(options: Options, prepared: Prepared, mirror: Mirror, ipam: Ipam, threads: Threads) -> PoolParts:
    """The addresses of pods; *ipam* has the books of the cluster's network."""
    node, cluster = options.node_name, lambda: mirror.cluster
    claims: Claims = FixedBlocks()
    keep: Callable[[PoolAddresses], BlockKeeper] | None = None
    if options.ip_pools and prepared.client is not None:
        from agent.ipam import block_claims, block_keeper  # noqa: PLC0415  imported as the client of the API server is

        services = options.service_cidrs
        claims = made = block_claims.BlockClaims(prepared.client, node, cluster, services)
        keep = partial(
            block_keeper.BlockKeeper,
            node,
            cluster,
            claims=made,
            threads=threads,
            report=partial(mirror.report, block_keeper.WATCH),
            services=services,
        )
    addresses = PoolAddresses(ipam, node, cluster, claims)
    choice = PoolChoice(addresses, node, cluster, waits=prepared.client is not None)
    leases = IpLeases(options.state_dir / LEASES, boot_id(), addresses, choice) if options.ip_pools else None
    return PoolParts(
        addresses,
        choice if options.ip_pools else None,
        IpamCommands(leases),
        keep(addresses) if keep is not None else None,
    )


def card() -> SriovCard:
    """The VFs of the node's cards."""
    return SriovCard(PciBus(_root() or Path("/")))


def vfs(options: Options, guards: Guards, ipam: OwnIpam | None = None) -> Vfs:
    """The VFs that pods are given; *guards* have programs on those that are network devices.

    *ipam* gives addresses of pools; without it nobody knows of any.
    """
    files = VfFiles(options.run_dir, _root())
    journal = vf_journal(options.state_dir, boot_id())
    return Vfs(card(), journal, DeviceIpam(plugins(options), ipam), files, guards=guards, claim=claim_addresses)


def nics(
    options: Options,
    guards: Guards,
    hardware: Hardware,
    ipam: OwnIpam | None = None,
    mac_of: Callable[[int], str] = lambda _: "",
) -> Nics:
    """What pods have of devices of the node; *hardware* is that of :func:`vfs`, *mac_of* as of :class:`Nics`."""
    journal, ipams = nic_journal(options.state_dir, boot_id()), DeviceIpam(plugins(options), ipam)
    return Nics(NodeNics(), journal, ipams, guards=guards, hardware=hardware, claim=claim_addresses, mac_of=mac_of)


def networks(options: Options, mirror: Mirror, pods: Pods, own: OwnPlugin) -> tuple[Networks, NetworkPlug]:
    """Who makes pods' further interfaces, and who changes them while a pod runs; *own* makes those that are ours."""
    boot = boot_id()
    records = NetworkRecords(options.state_dir / FOLDER)
    delegates = Delegates(plugins(options), own)
    routes = PodRoutes(lambda: _cluster_ranges(options, mirror))
    made = Networks(records, delegates, routes, lambda one: is_alive(one, boot, pods.find), kept=routes)
    return made, NetworkPlug(made, records, delegates, routes, devices_in)


def _cluster_ranges(options: Options, mirror: Mirror) -> Iterator[Network]:
    """The ranges of the cluster as it is now: of services, and of each node and its pods."""
    yield from options.service_cidrs
    for node in mirror.cluster.nodes.values():
        yield from node.pod_ranges
        yield from (ip_network(address) for address in node.internal_ips)


def source(options: Options, prepared: Prepared, mirror: Mirror) -> NetworkSource | None:
    """Who knows which networks pods ask for; None where they are given none."""
    if not options.networks:
        return None
    rules = NetworkRules(options.network_namespace_isolation, frozenset(options.network_global_namespaces))
    files, root = options.network_conf_dir, _root()
    if root is not None:
        files = root / files.relative_to("/")
    devices = partial(given_devices, options.run_dir)
    if prepared.client is None:
        return NetworkSource(lambda: mirror.cluster, rules, files, devices=devices)
    from agent.kube.pods import ask_pod  # noqa: PLC0415  imported as the client of the API server is

    ask = partial(ask_pod, prepared.client)
    return NetworkSource(lambda: mirror.cluster, rules, files, ask_pod=ask, devices=devices)


def given_devices(run_dir: Path, pod: ObjectName, _uid: str) -> Devices:
    """What the kubelet gave a pod, by resource and in its order, as the device plugin at *run_dir* tells.

    The kubelet knows pods by their names alone, and forgets one before it starts another of its name.

    Raises:
        NotSynced: nobody knows.
    """
    try:
        given = devices_of(run_dir, pod.namespace, pod.name)
    except (Unanswered, OSError) as error:
        raise NotSynced(f"the devices of Pod {pod} are not known: {error}") from error
    found: dict[str, list[str]] = {}
    for one in given:
        found.setdefault(one.resource, []).append(one.device)
    return found


def _root() -> Path | None:
    """The node's root, where it is a volume of the agent's pod."""
    return HOST_ROOT if HOST_ROOT.is_dir() else None


def status_writer(options: Options, prepared: Prepared, threads: Threads) -> "NetworkStatusWriter | None":
    """Who writes pods' networks to the API server; imported as its client is."""
    if not options.networks or prepared.client is None:
        return None
    from agent.kube.network_status import NetworkStatusWriter  # noqa: PLC0415  as above

    return NetworkStatusWriter(prepared.client, threads)


def tell(writer: "NetworkStatusWriter | None", one: NetworkSet) -> None:
    """Have a pod's networks written to it."""
    if writer is not None and one.pod is not None:
        writer.write(one.pod, one.pod_uid, one.status)
