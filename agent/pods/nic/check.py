"""What a device in a pod was given, and how it is looked at there."""

from agent.kernel.device.netdev_repair import Given
from agent.model.nic import NicKind
from agent.pods.device.ipam import addresses
from agent.pods.device.kept import InPod
from agent.pods.nic.needs import Devices
from agent.pods.nic.record import NicRecord


def given_to(record: NicRecord) -> Given:
    """What ADD gave the device.

    Raises:
        ValueError: as :func:`addresses`; a record may be of a version that looked at less.
    """
    own = record.link_local if record.kind is NicKind.IPVLAN else None
    return Given(addresses(record.given), own, record.mode)


def in_pod(devices: Devices, record: NicRecord) -> InPod:
    """The device in its pod."""
    place = record.netns, record.netns_cookie, record.ifindex
    return InPod(
        lambda: devices.in_pod(*place),
        lambda: devices.lost(*place, given_to(record)),
        lambda: devices.repair(*place, given_to(record)),
        _missing(record),
    )


def _missing(record: NicRecord) -> str:
    if record.before is not None:
        return f"{record.interface}, the node's {record.device}, is not in the pod any more; delete the Pod"
    return (
        f"{record.interface} is gone: {record.device} of the node, which it was above, has been removed, or the pod "
        "has removed it; delete the Pod, so that its next one is given another"
    )
