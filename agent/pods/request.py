"""What is asked for a pod, as a value: an interface in its namespace, with what it must have."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.model.address import Address
from agent.model.attachment import AfXdp, AttachmentKey, HostPort, Limit
from agent.model.name import ObjectName
from agent.pods.made import MadeInterface


@dataclass(frozen=True, slots=True)
class WantedAddress:
    """An address that must be this one, and the field or annotation that says so."""

    address: Address
    field: str


@dataclass(frozen=True, slots=True)
class PodRequest:
    """An interface to be made, or one that another plugin made."""

    network: str  # the name of the configuration by which it is asked for
    container_id: str
    interface: str
    netns: str  # path of the pod's network namespace
    may_be_host: bool = False  # the agent's own namespace is accepted
    pod: ObjectName | None = None
    pod_uid: str = ""  # empty where nobody tells
    addresses: tuple[WantedAddress, ...] = ()  # at most one of each family; of others the node gives one
    mac: str = ""  # lower case; empty: follows from the attachment
    host_ports: tuple[HostPort, ...] = ()
    ingress_limit: Limit | None = None  # to the pod
    egress_limit: Limit | None = None  # from the pod
    asked_at_ns: int | None = None  # by CLOCK_BOOTTIME; None: nobody tells
    afxdp: AfXdp | None = None
    made: MadeInterface | None = None  # None: it is to be made here
    pool: str = ""  # the IPPools that its definition names; empty: those of the pod and its place
    annotations: Mapping[str, str] = field(default_factory=dict)  # the pod's, where the runtime tells them
    is_further: bool = False  # of a further network: the pod's ways out are another's
    definition: ObjectName | None = None  # of that network

    @property
    def key(self) -> AttachmentKey:
        """What identifies the attachment."""
        return self.container_id, self.interface

    @property
    def pod_name(self) -> str:
        """The pod as people know it, or its container."""
        return str(self.pod or self.container_id)
