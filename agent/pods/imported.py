"""host-local's reservations kept by the agent: an address of a pod from before is nobody else's while that pod lives.

Stands beside ``ipam`` while the Node's annotation asks for it. The files stay the record: they are read again when one
came or went, and removed when their pod has ended, by its DEL, by the runtime's GC, or when the kernel has taken the
pod's device away. The pods themselves stay on their old bridge, and the node's routes lead there as before.
"""

import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from agent.ipam.pool import Ipam
from agent.kernel.portmap import Container
from agent.log import logger
from agent.model.address import Address, Network
from agent.model.attachment import AttachmentKey
from agent.pods.files import remove
from agent.pods.host_local import Reservation, Unreadable, is_dead, reservations, stamp

log = logger(__name__)

Devices = Callable[[], Collection[str]]
RemovePorts = Callable[[Iterable[Container]], Mapping[Container, str]]  # of which rules are left, and why


class Imported:
    """The reservations of one node; safe to use from several threads."""

    def __init__(
        self,
        folder: Path,
        cidrs: Callable[[], tuple[Network, ...]],
        ipam: Ipam,
        devices: Devices,
        remove_ports: RemovePorts = lambda _: {},
    ) -> None:
        """*cidrs* are those to look after, none while the Node does not ask for it; *devices* names the node's own.

        *remove_ports* has host ports lead to pods no more, whose addresses the next ones may get.
        """
        self._folder = folder
        self._remove_ports = remove_ports
        self._ending: set[Reservation] = set()  # whose pods have ended, and host ports still lead there
        self._wanted: set[Reservation] = set()  # by an ADD since it was last looked whether their pods have ended
        self._cidrs = cidrs
        self._ipam = ipam
        self._devices = devices
        self._held: dict[Address, Reservation] = {}
        self._seen: tuple[object, ...] | None = None  # CIDRs and files when they were read; None: read anew
        self._told: set[Unreadable] = set()
        self._removing = threading.Lock()  # held for seconds where others have many rules; taken before the next
        self._lock = threading.Lock()  # of what is held, for a moment: each ADD takes it

    def refresh(self) -> None:
        """Have every address held that a file names now, and no other; cheap while nothing changed."""
        with self._lock:
            cidrs = self._cidrs()
            seen = (cidrs, stamp(self._folder)) if cidrs else ()
            if seen == self._seen:
                return
            found = {r.address: r for r in self._read() if any(r.address in cidr for cidr in cidrs)} if cidrs else {}
            self._ipam.release(self._held.keys() - found.keys())
            fresh = self._ipam.hold(found.keys() - self._held.keys())
            if fresh:
                log.info("addresses of pods from before are kept", addresses=len(fresh), folder=self._folder)
            self._held = {a: r for a, r in found.items() if a in self._held or a in fresh}
            self._seen = seen

    def of(self, identity: AttachmentKey) -> tuple[Address, ...]:
        """The addresses that this attachment has from before."""
        with self._lock:
            own = [r for r in self._held.values() if r.is_of(*identity)]
            self._wanted.update(own)
            return tuple(r.address for r in own)

    def take_over(self, identity: AttachmentKey, given: Iterable[Address]) -> None:
        """The attachment is ours now, with *given*: no file is needed any more."""
        self._end(lambda one: one.is_of(*identity), keep=frozenset(given))

    def release(self, identity: AttachmentKey) -> None:
        """The attachment has ended."""
        with self._lock:
            self._seen = None  # its file may be one that stood behind an attachment of ours
        self.refresh()
        self.take_over(identity, ())

    def keep_only(self, network: str, valid: Collection[AttachmentKey]) -> None:
        """The runtime's GC of one network: other containers of its than these are gone."""
        self.refresh()
        ids = {container_id for container_id, _ in valid}
        self._end(lambda one: one.network == network and one.container_id not in ids)

    def collect(self) -> None:
        """Look for pods that ended without a DEL, as by a reboot."""
        self.refresh()
        if self._held:
            devices = self._devices()
            self._end(lambda one: one in self._ending or is_dead(one, self._folder, devices))

    def _read(self) -> Iterable[Reservation]:
        for found in reservations(self._folder):
            if isinstance(found, Reservation):
                yield found
            elif found not in self._told:
                self._told.add(found)
                log.warning("reservation of host-local is passed over", file=found.file, why=found.why)

    def _end(self, is_ended: Callable[[Reservation], bool], keep: Collection[Address] = ()) -> None:
        with self._lock:
            those = [one for one in self._held.values() if is_ended(one)]
            self._wanted.difference_update(one for one in those if one.address not in keep)
        if not those:
            return
        with self._removing:
            left = self._remove_ports([(each.network, each.container_id) for each in those])
            with self._lock:
                for each in those:
                    if self._held.get(each.address) == each:  # it may have ended meanwhile
                        self._end_one(each, left.get((each.network, each.container_id), ""), keep)

    def _end_one(self, ended: Reservation, why: str, keep: Collection[Address]) -> None:
        """A pod has ended, or is ours now; *why* host ports still lead there: looked at again by :meth:`collect`."""
        self._tell_ports(ended, why)
        if ended.address not in keep and (why or ended in self._wanted):
            return
        try:
            remove(ended.file)
        except OSError as error:  # then it is read again, and tried again
            log.warning("reservation of host-local not removed", file=ended.file, why=error)
        del self._held[ended.address]
        self._wanted.discard(ended)
        if ended.address not in keep:
            self._ipam.release((ended.address,))
            log.info("address of a pod from before is free", address=ended.address, container=ended.container_id)
        self._seen = None

    def _tell_ports(self, ended: Reservation, why: str) -> None:
        if not why:
            self._ending.discard(ended)
        elif ended not in self._ending:
            self._ending.add(ended)
            log.warning("host ports lead to a pod from before", address=ended.address, why=why)
