"""Why a pod cannot have the interface that is asked for it; the caller turns each class into an answer of its own.

::

    PodRefused               nothing of the request is left
    ├── NotSynced            the agent does not know the cluster yet: a later try will find that it does
    ├── AlreadyAttached      the container has an interface of this name from here; remove it first
    ├── NoFreeAddress        none is free, or the one asked for is another pod's: a later try may get it
    ├── AddressUnusable      the address asked for is none that this node gives
    ├── HostPortTaken        another pod has the port of the node: a later try may get it
    ├── HostPortUnusable     the pod could not be reached by the port asked for
    ├── MacTaken             another interface of the node has the MAC asked for: a later try may get it
    ├── NetnsUnusable        the network namespace is gone, is none, or is the node's own
    ├── InterfaceTaken       the pod's namespace has an interface of that name
    ├── NetworkFailed        a further interface could not be made or unmade by its plugins; the code says why
    ├── InterfaceUnusable    the interface that another plugin made has no end on the node, or is not as that told
    ├── DeviceInUse              another container has the VF: a later try may get it
    └── DeviceUnusable           the VF is none, cannot do what is asked of it, or its driver refuses; the key is named
"""

from agent.errors import AgentError


class PodRefused(AgentError):  # noqa: N818  the name says what happened, which is more than "Error" does
    """The root: a request that cannot be served as it is."""


class NotSynced(PodRefused):
    """The agent does not know the cluster yet; the message says what is missing."""


class AlreadyAttached(PodRefused):
    """The container has an interface of this name from here."""


class NoFreeAddress(PodRefused):
    """No address is free, or the one asked for is another pod's."""


class AddressUnusable(PodRefused):
    """The address asked for is none that this node gives."""


class HostPortTaken(PodRefused):
    """Another pod has the port; the message says which."""


class HostPortUnusable(PodRefused):
    """The pod has no address of the family that the port is asked for at."""


class MacTaken(PodRefused):
    """Another pod's interface, or a device of the node, has the MAC."""


class NetnsUnusable(PodRefused):
    """The network namespace is gone, is none, or is the node's own."""


class InterfaceTaken(PodRefused):
    """The pod's namespace has an interface of that name."""


class InterfaceUnusable(PodRefused):
    """The interface that another plugin made has no end on the node, or is not as that plugin told."""


class DeviceInUse(PodRefused):
    """Another container has the VF; the message says which."""


class DeviceUnusable(PodRefused):
    """The VF is none, cannot do what is asked of it, or its driver refuses; the message names the key."""


class NetworkFailed(PodRefused):
    """A plugin that makes a further interface refused, or took too long; the message names both."""

    def __init__(self, text: str, code: int = 0) -> None:
        super().__init__(text)
        self.code = code  # CNI's, of the plugin's own error; 0: it gave none
