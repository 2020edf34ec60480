"""Whether a network device in a pod is as ADD left it, and what it has lost set again: alike for all sorts."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from agent.errors import AgentError
from agent.log import logger
from agent.model.netdev import Netdev
from agent.pods.device.record import DeviceRecord
from agent.pods.device.words import whose
from agent.pods.link_faults import link_faults

log = logger(__name__)

TROUBLES = (OSError, AgentError, ValueError)  # the last of a record of a version that looked at less


@dataclass(frozen=True, slots=True)
class InPod:
    """A pod's device, as those tell of it who know its sort; each may raise one of :data:`TROUBLES`."""

    found: Callable[[], Netdev | None]  # as it is in the pod, if it is there
    lost: Callable[[], tuple[str, ...]]  # what it has no more, as ends of sentences about it
    repair: Callable[[], tuple[str, ...]]  # that again
    missing: str  # what is said of one that is not there


def faults(record: DeviceRecord, device: InPod) -> Iterator[str]:
    """What is not as ADD left it."""
    try:
        found = device.found()
        gone = device.lost() if found is not None else ()
    except TROUBLES as error:
        yield str(error)
        return
    if found is None:
        yield f"{record.interface} is not in {record.netns}"
    elif found.name != record.interface:
        yield f"{record.interface} is called {found.shown}"
    elif not found.is_up:
        yield f"{record.interface} is down"
    own = () if found is None else link_faults(found.mac, found.mtu, given_mac=record.own_mac, given_mtu=record.mtu)
    yield from (f"{record.interface} {what}" for what in (*own, *gone))


def keep(record: DeviceRecord, device: InPod) -> str:
    """Have a device be what its pod was given, whoever has changed it since; why it is not, empty where it is."""
    try:
        if device.found() is None:
            return device.missing
        for what in device.repair():
            who = str(record.pod or record.container_id)
            log.warning("what a pod's device had lost is set again", pod=who, interface=record.interface, what=what)
    except TROUBLES as error:
        return f"{whose(record)} is not as it was given: {error}"
    return ""
