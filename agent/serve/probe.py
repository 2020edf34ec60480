"""What the kernel has of a pod beside its wire: programs on the device, entries in the maps. CHECK asks."""

from collections.abc import Callable, Iterator

from agent.compile.endpoint import endpoints, pods
from agent.compile.limit import at_rest, limits
from agent.model.address import unmapped
from agent.model.local import Attachment
from agent.reconcile.kernel import Tables
from maps import abi


class Probe:
    """Looks; changes nothing."""

    def __init__(self, tables: Tables, attached: Callable[[int], bool]) -> None:
        """*attached* tells whether a device has the pod programs."""
        self._tables = tables
        self._attached = attached

    def __call__(self, attachment: Attachment) -> tuple[str, ...]:
        """What is missing or differs; empty when all is well."""
        return tuple(self._faults(attachment))

    def _faults(self, attachment: Attachment) -> Iterator[str]:
        device = attachment.host_device
        if not self._attached(attachment.ifindex):
            yield f"the programs are not on {device}"
        for key, value in endpoints((attachment,), ()).items():
            address = abi.ENDPOINTS.key.unpack(key)
            if self._tables.endpoints.get(address) != abi.Endpoint.unpack(value):
                yield f"the endpoints map does not lead {unmapped(address)} to {device}"
        for key, value in pods((attachment,)).items():
            cookie = abi.POD_NETNS.key.unpack(key)
            if self._tables.pod_netns.get(cookie) != abi.PodAddresses.unpack(value):
                yield "the pod_netns map does not know the pod's namespace"
        for key, value in limits((attachment,), ()).items():
            found = self._tables.limits.get(abi.LIMITS.key.unpack(key))
            if found is None or at_rest(found.pack()) != value:
                yield f"the limits map does not keep {device} to its bandwidth"
