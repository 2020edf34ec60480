"""What the kernel has of a pod beside its veth: programs on the device, entries in the maps. CHECK asks."""

from collections.abc import Callable, Iterator

from agent.compile.endpoint import endpoints, pods
from agent.compile.host_port import service_name
from agent.compile.limit import at_rest, limits
from agent.compile.records import Desired, SetRecords
from agent.model.address import unmapped
from agent.model.attachment import Attachment
from agent.model.service import Protocol
from agent.reconcile.kernel import Tables
from maps import abi


class Probe:
    """Looks; changes nothing."""

    def __init__(
        self, tables: Tables, attached: Callable[[int], bool], written: Callable[[], Desired | None] = lambda: None
    ) -> None:
        """*attached* tells whether a device has the pod programs; *written*, what the maps of services should hold."""
        self._tables = tables
        self._attached = attached
        self._written = written

    def __call__(self, attachment: Attachment) -> tuple[str, ...]:
        """What is missing or differs; empty when all is well."""
        return tuple(self._faults(attachment))

    def _faults(self, attachment: Attachment) -> Iterator[str]:
        device = attachment.link.host_device
        if not self._attached(attachment.link.ifindex):
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
        if attachment.host_ports:
            yield from self._port_faults(attachment)

    def _port_faults(self, attachment: Attachment) -> Iterator[str]:
        """Host ports are a service of the pod's own; an address and port that a Service object has are not in it."""
        written = self._written()
        if written is None:  # in work, or the agent has just started
            return
        records = written.services.get(service_name(attachment))
        if records is None:
            yield "the services map knows none of the pod's host ports"
            return
        for key, value in records.services.items():
            asked = abi.ServiceKey.unpack(key)
            if self._tables.services.get(asked) != abi.Service.unpack(value):
                where = f"{unmapped(asked.addr)} port {asked.port}/{Protocol(asked.protocol).name}"
                yield f"the services map does not lead {where} to {attachment.link.host_device}"
        for part in records.sets:
            if not self._holds(part):
                yield f"the backends map does not have what serves {part.label}"

    def _holds(self, part: SetRecords) -> bool:
        """Whether a backend set is in the maps whole."""
        backends, maglevs = self._tables.backends, self._tables.maglevs
        return all(
            backends.get(abi.BackendKey.unpack(key)) == abi.Backend.unpack(value)
            for key, value in part.backends.items()
        ) and all(
            maglevs.get(abi.MaglevKey.unpack(key)) == abi.Maglev.unpack(value) for key, value in part.maglevs.items()
        )
