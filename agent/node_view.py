"""What parts ask of the options and of what is known at that moment: this node's uplinks, MTUs, pod CIDRs."""

import socket
from collections.abc import Iterator
from ipaddress import IPv4Network

from pyroute2 import IPRoute

from agent.compile.public_range import PublicRanges
from agent.compile.settings import NetworkSettings
from agent.compile.tunnel import NAME as TUNNEL
from agent.compile.tunnel import SEGMENTER, DeviceKind
from agent.compile.uplink import uplinks
from agent.kernel.net.tunnel import has_kind
from agent.model.address import Network
from agent.model.bgp import interfaces
from agent.model.local import Device
from agent.options.choices import Encapsulation, PodNetwork
from agent.options.config import Options
from agent.reconcile.loop import Loop
from agent.watch.mirror import Mirror


def uplinks_of(options: Options, mirror: Mirror) -> tuple[Device, ...]:
    """The devices by which this node's packets reach others, at this moment."""
    cluster = mirror.cluster
    node = cluster.nodes.get(options.node_name)
    devices, labels = cluster.local.devices, dict(node.labels) if node else {}
    peered = interfaces(cluster.bgp_peers.values(), labels) if options.router else ()
    return uplinks(options.devices, node, devices, with_overlays=options.serves_over_others, peered=peered)


def mac_of(mirror: Mirror, ifindex: int) -> str:
    """The MAC of the node's device of this number; empty: there is none."""
    return next((one.mac.hex(":") for one in mirror.cluster.local.devices if one.ifindex == ifindex), "")


def pod_mtus(options: Options, mirror: Mirror, loop: Loop) -> Iterator[int]:
    """The MTU that running pods have; until one is known, those of the devices by which pods' packets leave."""
    if mtu := loop.pod_mtu():
        yield mtu
        return
    ways = uplinks_of(options, mirror)
    ways += tuple(device for device in mirror.cluster.local.devices if device.name == TUNNEL)
    yield from (device.mtu for device in ways if device.mtu)


def kept(options: Options, mirror: Mirror, loop: Loop) -> frozenset[str | bytes]:
    """Devices and addresses that come back when somebody takes them."""
    ways = (device.name for device in uplinks_of(options, mirror))  # routes by gateways go when one is set down
    own = tuple(one for one in loop.attachments() if not (one.link.is_chained or one.is_in_pod))
    addresses = (address.packed for one in own for address in one.addresses)
    return frozenset((TUNNEL, SEGMENTER, *ways, *(one.link.host_device for one in own), *addresses))


def pod_cidrs(options: Options, mirror: Mirror) -> tuple[Network, ...]:
    """Those that pods get addresses of from here: of IPv6 none where the kernel has no IPv6."""
    cluster = mirror.cluster
    node = cluster.nodes.get(options.node_name) if options.network is PodNetwork.OWN else None
    cidrs = node.pod_cidrs if node else ()
    return cidrs if cluster.local.has_ipv6 else tuple(cidr for cidr in cidrs if isinstance(cidr, IPv4Network))


def imported_cidrs(options: Options, mirror: Mirror) -> tuple[Network, ...]:
    """The pod CIDRs in which pods from before us keep their addresses."""
    node = mirror.cluster.nodes.get(options.node_name) if options.network is PodNetwork.OWN else None
    return node.pod_cidrs if node and node.imports_host_local else ()


def device_names() -> frozenset[str]:
    """Those of the host's network namespace."""
    return frozenset(name for _, name in socket.if_nameindex())


def public_ranges(options: Options) -> PublicRanges | None:
    """The ranges of external addresses that Services may have; None: any address."""
    if not options.strict_external_ip_validation:
        return None
    return PublicRanges(options.service_external_ip_range, options.loadbalancer_ip_range)


def network(options: Options, netlink: IPRoute) -> NetworkSettings:
    """How the options want nodes joined, as far as this kernel can."""
    is_geneve = options.encapsulation is Encapsulation.GENEVE
    return NetworkSettings(
        options.encapsulation,
        options.cross_subnet,
        options.tunnel_port,
        options.tunnel_vni,
        options.mtu,
        options.masquerade and options.network is PodNetwork.OWN,
        is_geneve and has_kind(netlink, DeviceKind.GENEVE),
        options.host_routing,
        options.service_cidrs,
        options.masquerade_all,
        options.router,
    )
