"""Whether a device in a pod is as ADD left it, and what it has lost set again."""

from collections.abc import Iterator

from agent.errors import AgentError
from agent.kernel.device.nic_repair import GivenToNic
from agent.log import logger
from agent.model.nic import NicKind
from agent.pods.device.ipam import addresses
from agent.pods.nic.needs import Devices
from agent.pods.nic.record import NicRecord

log = logger(__name__)


def given_to(record: NicRecord) -> GivenToNic:
    """What ADD gave the device.

    Raises:
        ValueError: as :func:`addresses`; a record may be of a version that looked at less.
    """
    own = record.link_local if record.kind is NicKind.IPVLAN else None
    return GivenToNic(addresses(record.given), own, record.mode)


def faults(devices: Devices, record: NicRecord) -> Iterator[str]:
    """What is not as ADD left it."""
    place = record.netns, record.netns_cookie, record.ifindex
    try:
        found = devices.in_pod(*place)
        gone = devices.lost(*place, given_to(record)) if found is not None else ()
    except (OSError, AgentError, ValueError) as error:
        yield str(error)
        return
    if found is None:
        yield f"{record.interface} is not in {record.netns}"
    elif found.name != record.interface:
        yield f"{record.interface} is called {found.shown}"
    elif not found.is_up:
        yield f"{record.interface} is down"
    yield from (f"{record.interface} {what}" for what in gone)


def keep(devices: Devices, record: NicRecord) -> str:
    """Have a device be what its pod was given, whoever has changed it since; why it is not, empty where it is."""
    place = record.netns, record.netns_cookie, record.ifindex
    try:
        if devices.in_pod(*place) is None:
            return _missing(record)
        for what in devices.repair(*place, given_to(record)):
            who = str(record.pod or record.container_id)
            log.warning("what a pod's device had lost is set again", pod=who, interface=record.interface, what=what)
    except (OSError, AgentError, ValueError) as error:
        return f"{record.interface} ({record.device}) is not as it was given: {error}"
    return ""


def _missing(record: NicRecord) -> str:
    if record.before is not None:
        return f"{record.interface}, the node's {record.device}, is not in the pod any more; delete the Pod"
    return (
        f"{record.interface} is gone: {record.device} of the node, which it was above, has been removed, or the pod "
        "has removed it; delete the Pod, so that its next one is given another"
    )
