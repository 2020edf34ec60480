"""An attachment as it stands on the disk, in the ``journal`` and in the files of agents before it; pure.

What is on the disk has a shape of its own, which older and newer agents read alike: the model may be cut otherwise.
"""

from ipaddress import IPv4Address, IPv6Address

import msgspec

from agent.model.attachment import AfXdp, Attachment, AttachmentKey, HostPort, Limit, Veth
from agent.model.name import ObjectName
from agent.pods.attachments import Saved


class AttachmentRecord(msgspec.Struct, frozen=True):
    """Attachment and veth side by side; a field that another version lacks has a default."""

    container_id: str
    interface: str
    endpoint_id: int
    netns: str
    netns_cookie: int
    host_device: str
    ifindex: int
    mac: str
    ipv4: IPv4Address | None = None
    ipv6: IPv6Address | None = None
    pod: ObjectName | None = None
    pod_uid: str = ""
    host_ports: tuple[HostPort, ...] = ()
    ingress_limit: Limit | None = None
    egress_limit: Limit | None = None
    is_first: bool = True
    slot: int = 0  # of agents before there were slots
    is_chained: bool = False
    network: ObjectName | None = None
    afxdp: AfXdp | None = None

    def attachment(self) -> Attachment:
        """The value that it stands for."""
        return Attachment(
            container_id=self.container_id,
            interface=self.interface,
            endpoint_id=self.endpoint_id,
            slot=self.slot,
            netns=self.netns,
            netns_cookie=self.netns_cookie,
            mac=self.mac,
            link=Veth(self.host_device, self.ifindex, self.is_chained, self.afxdp),
            ipv4=self.ipv4,
            ipv6=self.ipv6,
            pod=self.pod,
            pod_uid=self.pod_uid,
            host_ports=self.host_ports,
            ingress_limit=self.ingress_limit,
            egress_limit=self.egress_limit,
            is_first=self.is_first,
            network=self.network,
        )


class SavedRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """:class:`~agent.pods.attachments.Saved` on the disk."""

    attachment: AttachmentRecord
    network: str
    sequence: int
    asked_at_ns: int = 0

    def saved(self) -> Saved:
        """The value that it stands for."""
        return Saved(self.attachment.attachment(), self.network, self.sequence, self.asked_at_ns)


class EntryRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of the journal."""

    step: str
    key: AttachmentKey
    saved: SavedRecord | None = None


def saved_record(saved: Saved) -> SavedRecord:
    """What is written of an attachment."""
    one = saved.attachment
    record = AttachmentRecord(
        container_id=one.container_id,
        interface=one.interface,
        endpoint_id=one.endpoint_id,
        slot=one.slot,
        netns=one.netns,
        netns_cookie=one.netns_cookie,
        host_device=one.link.host_device,
        ifindex=one.link.ifindex,
        mac=one.mac,
        ipv4=one.ipv4,
        ipv6=one.ipv6,
        pod=one.pod,
        pod_uid=one.pod_uid,
        host_ports=one.host_ports,
        ingress_limit=one.ingress_limit,
        egress_limit=one.egress_limit,
        is_first=one.is_first,
        network=one.network,
        is_chained=one.link.is_chained,
        afxdp=one.link.afxdp,
    )
    return SavedRecord(record, saved.network, saved.sequence, saved.asked_at_ns)
