"""A VF taken back from its pod: each step looks at what is, so that it can begin anew wherever it was cut off."""

from collections.abc import Iterator

from agent.compile.vf import SetMac, changes
from agent.kernel.device.netdev import NamesTaken
from agent.kernel.device.pci import DeviceGone, DeviceRefused
from agent.log import logger
from agent.model.vf import NO_MAC
from agent.pods import fail_points
from agent.pods.device.guards import Guards
from agent.pods.vf.needs import Card
from agent.pods.vf.record import VfRecord

log = logger(__name__)


def take_back(card: Card, guards: Guards, record: VfRecord, patience_s: float) -> None:
    """Home, its driver, its PF's settings, its device: in this order nothing of the pod's meets the node's.

    The programs go when the device has left the pod, and before it is set up on the node. One that is home, but for
    names, has only these given again.

    Raises:
        NamesTaken: all else is done.
        DeviceRefused: the device does not come, or the PF keeps what it was told, or has no device itself now.
        OSError: the kernel refused.
    """
    address, before = record.address, record.before
    try:
        vf = card.look(address)
    except DeviceGone as error:
        log.warning("VF is gone, with all that was set", vf=address, why=error)
        guards.detach(address)
        return
    if record.home and before.netdev is not None and card.restore_names(address, before.netdev, record.home):
        return
    if before.netdev is not None and vf.driver == before.driver:
        card.bring_home(address, record.netns, record.netns_cookie, patience_s)
    guards.detach(address)
    fail_points.reached("VF DEL home")
    card.bind(address, before.driver, before.driver_override)
    if before.group_file is not None:
        card.restore_group_file(before.group, before.group_file)
    fail_points.reached("VF DEL bound")
    refused = [*_reset(card, record)]
    fail_points.reached("VF DEL set")
    if before.netdev is not None:
        card.set_mac(address, before.netdev.mac)
        try:
            card.restore_netdev(address, before.netdev)
        except NamesTaken as error:
            if not refused:
                raise
            refused.append(str(error))
    fail_points.reached("VF DEL named")
    if refused:  # with another pod's VLAN it is given to nobody
        raise DeviceRefused(f"{address} is not as it was: {'; '.join(refused)}")


def _reset(card: Card, record: VfRecord) -> Iterator[str]:
    """Have the PF's settings as they were; what it refuses, each by itself."""
    for change in changes(record.before.settings, card.look(record.address).settings):
        try:
            card.set(record.address, change)
        except DeviceRefused as error:
            if change == SetMac(NO_MAC):  # some drivers take no address back, and the next one stands in its place
                log.warning("a VF keeps the address that the PF has set", vf=record.address, why=error)
            else:
                yield str(error)
