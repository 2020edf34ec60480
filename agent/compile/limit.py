"""How much each pod may send and be sent, by the node's end of its veth; and which devices can have packets wait."""

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


def limits(attachments: Iterable[Attachment], devices: Iterable[Device]) -> Packed:
    """The records of pods with a limit and, where there is one, of the devices that keep time; all at rest."""
    found = {a.link.ifindex: _pods(a) for a in attachments if a.ingress_limit or a.egress_limit}
    if found:
        paced = abi.DeviceLimits(NO_LIMIT, NO_LIMIT, abi.LimitFlag.LIMIT_PACED)
        found = {device.ifindex: paced for device in devices if device.is_paced} | found
    return {abi.LIMITS.key.pack(ifindex): record.pack() for ifindex, record in found.items()}


def flags(records: Packed) -> abi.NodeFlag:
    """What the node's record says of these."""
    found = abi.NodeFlag(0)
    if records:
        found |= abi.NodeFlag.NODE_LIMITS
    if any(abi.DeviceLimits.unpack(value).flags & abi.LimitFlag.LIMIT_PACED for value in records.values()):
        found |= abi.NodeFlag.NODE_PACED
    return found


def at_rest(record: bytes) -> bytes:
    """A record without what the programs have counted in it: what two of them are compared by."""
    found = abi.DeviceLimits.unpack(record)
    return abi.DeviceLimits(_at_rest(found.ingress), _at_rest(found.egress), found.flags).pack()


def _at_rest(limit: abi.Limit) -> abi.Limit:
    return abi.Limit(limit.rate, limit.burst_ns, 0)


def _pods(attachment: Attachment) -> abi.DeviceLimits:
    return abi.DeviceLimits(_limit(attachment.ingress_limit), _limit(attachment.egress_limit), abi.LimitFlag(0))


def _limit(limit: Limit | None) -> abi.Limit:
    return NO_LIMIT if limit is None else abi.Limit(limit.rate, max(limit.burst * NS // limit.rate, LEAST_BURST_NS), 0)
