"""An interface with AF_XDP, as those who serve it know it: before it is an attachment, and when it is one."""

from dataclasses import dataclass
from typing import Self

from agent.model.attachment import AfXdp, Attachment


@dataclass(frozen=True, slots=True)
class AfXdpInterface:
    """The pod's end of a veth, and what was asked for."""

    host_device: str
    name: str  # in the pod
    netns: str  # path of the pod's network namespace
    netns_cookie: int
    afxdp: AfXdp

    @classmethod
    def of(cls, attachment: Attachment) -> Self | None:
        """That of an attachment; None: it has no AF_XDP."""
        link = attachment.link
        if link.afxdp is None:
            return None
        return cls(link.host_device, attachment.interface, attachment.netns, attachment.netns_cookie, link.afxdp)
