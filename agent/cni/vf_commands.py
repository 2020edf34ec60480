"""The CNI commands about VFs, for the kinds ``sriov`` and ``dpdk``; what is no VF's is left to the others."""

from collections.abc import Iterator

from agent.cni import vf
from agent.cni.error import CniError, Code
from agent.cni.request import Request
from agent.model.attachment import Attachment, AttachmentKey
from agent.pods.device.handover import TROUBLES, of_network
from agent.pods.vf.vfs import Vfs


class VfCommands:
    """The commands of one node, as far as VFs have a part in them."""

    def __init__(self, vfs: Vfs) -> None:
        self._vfs = vfs

    def restore(self) -> tuple[Attachment, ...]:
        """As ``Vfs.restore``."""
        return self._vfs.restore()

    def collect_dead(self) -> None:
        """As ``Vfs.collect``."""
        self._vfs.collect()

    def add(self, request: Request) -> bytes:
        """What the plugin prints."""
        record = self._vfs.add(vf.asked(request))
        return vf.added(request, record)

    def delete(self, key: AttachmentKey, asked_at_ns: int | None) -> bool:
        """Whether there was such a VF, which is what it was now; whatever the definition says by now."""
        return self._vfs.delete(key, asked_at_ns)

    def forget(self, request: Request) -> None:
        """As ``Vfs.forget``."""
        self._vfs.forget(vf.vf_request(request))

    def check(self, request: Request) -> bool:
        """Whether it is a VF, as ADD left it.

        Raises:
            CniError: it is one, and is not.
        """
        record = self._vfs.find(request.key)
        if record is None:
            return False
        if faults := tuple(self._vfs.check(record)):
            raise CniError(Code.CHECK, f"{request.interface} is not as ADD left it", "; ".join(faults))
        return True

    def collect(self, request: Request) -> Iterator[str]:
        """Give back what the runtime does not name; what could not be."""
        for record in of_network(self._vfs.all(), request.network):
            if record.key in (request.valid or ()):
                continue
            try:
                self._vfs.delete(record.key, request.asked_at_ns)
            except TROUBLES as error:
                yield f"{record.container_id} {record.interface}: {error}"
