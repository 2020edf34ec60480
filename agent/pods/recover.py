"""What a start makes of the journal and of the kernel's devices: each ADD and DEL that was begun has its end.

Serves ``pods``. An attachment whose veth stands is whole: its records in maps follow from it. So an ADD that came so
far is completed, whether its runtime has heard of it or not; one that did not is undone, for a runtime that got no
answer deletes it or tries again. A DEL that began is completed. Killed here, the next start finds the same again.
"""

from agent.log import logger
from agent.pods import fail_points
from agent.pods.attachments import Saved, host_device
from agent.pods.journal import Entry, Journal, Stage
from agent.pods.needs import OthersVeths, Veths

log = logger(__name__)


def recover(journal: Journal, veths: Veths, others: OthersVeths | None = None) -> tuple[Saved, ...]:
    """The attachments that live, oldest first; the journal begins with them, and no other device of ours is left.

    Raises:
        OSError: the kernel refuses to remove a device.
    """
    alive: list[Saved] = []
    entries = journal.load()
    fail_points.reached("START read")
    for entry in entries:
        if entry.saved and _is_whole(entry, veths):
            alive.append(entry.saved)
        else:
            log.info("attachment is undone", stage=entry.stage, container=entry.key[0], interface=entry.key[1])
            veths.remove(host_device(*entry.key))
            if others is not None and entry.saved is not None and entry.saved.attachment.link.is_chained:
                others.release(entry.saved.attachment.link)
    for name in veths.ours() - {saved.attachment.link.host_device for saved in alive}:
        log.info("device of no attachment removed", device=name)
        veths.remove(name)
    fail_points.reached("START compared")
    journal.begin(alive)
    fail_points.reached("START noted")
    return tuple(alive)


def _is_whole(entry: Entry, veths: Veths) -> bool:
    """Whether the veth was made, is not being unmade, and is there still, with the pod's own namespace."""
    return (
        entry.stage in {Stage.MADE, Stage.ADDED} and entry.saved is not None and veths.is_alive(entry.saved.attachment)
    )
