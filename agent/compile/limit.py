"""How much each pod may send and be sent, by its attachment's slot; and which devices keep time."""

from collections.abc import Iterable

from agent.model.attachment import Attachment, Limit
from agent.model.local import Device
from maps import abi
from maps.record import Packed

NS = 10**9
NO_LIMIT = abi.Limit(0, 0, 0)
# of the rate, where less is asked for too: TCP that lost a whole window waits for Linux' TCP_RTO_MIN, 200 ms, and what
# it could have sent meanwhile is kept for it (docs/decisions/0011)
LEAST_BURST_NS = 250_000_000


def is_limited(attachment: Attachment) -> bool:
    """Whether an attachment may not send, or be sent, all that fits."""
    return bool(attachment.ingress_limit or attachment.egress_limit)


def limit_record(attachment: Attachment) -> Packed:
    """The record of an attachment with a limit, as if it had sent nothing yet."""
    if not is_limited(attachment):
        return {}
    ingress, egress = _limit(attachment.ingress_limit), _limit(attachment.egress_limit)
    return {abi.LIMITS.key.pack(attachment.slot): abi.AttachmentLimits(ingress, egress).pack()}


def paced_records(devices: Iterable[Device]) -> Packed:
    """The records of the node's devices that keep time: what leaves there over its limit waits in the queue."""
    paced = abi.PacedDevice(1).pack()
    return {abi.PACED_DEVICES.key.pack(device.ifindex): paced for device in devices if device.is_paced}


def _limit(limit: Limit | None) -> abi.Limit:
    return NO_LIMIT if limit is None else abi.Limit(limit.rate, max(limit.burst * NS // limit.rate, LEAST_BURST_NS), 0)
