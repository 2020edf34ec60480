"""``dpctl pod``: this node's pods by what the agent noted of them, and what their network namespaces have.

Three books on the disk say which interfaces there are: the journal of our own, that of VFs, and the records of further
networks. A pod's namespace says the rest, and the maps which of it policy judges. None of it needs an agent.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from agent.model.attachment import Attachment
from agent.model.network import AFXDP, OUR_PLUGIN, VETH
from agent.netlink.counted import CountedLink, counted_links
from agent.netlink.dump import Dump
from agent.netlink.netns import NoSuchNetns, open_netns
from agent.pods.attachments import boot_id
from agent.pods.journal import Journal, Stage
from agent.pods.network_record import FOLDER as NETWORKS
from agent.pods.network_record import NetworkSet, read
from agent.pods.nic.record import NicRecord, nic_journal
from agent.pods.veth_check import addresses_of
from agent.pods.vf.record import VfRecord, vf_journal
from dpctl.errors import Absent
from dpctl.output import Column, Table
from maps import abi

ATTACHMENTS = "attachments"  # in --state-dir
SHOWN = 12  # characters of a container's id that docker shows, and crictl one more
CHAINED = "chained"  # kind of what another plugin before us made
POLICY = {  # of rule sets in both directions
    (False, False): "no policy selects it",
    (True, False): "ingress",
    (False, True): "egress",
    (True, True): "ingress, egress",
}
CLOSED, UNSEEN = "nothing passes yet", "sees no packet"
Slots = Mapping[int, abi.PodPolicy]  # what policy says of the attachment at a slot


@dataclass(frozen=True, slots=True)
class PodInterface:
    """One interface as the books have it."""

    pod: str  # namespace/name, or the container
    container: str
    interface: str
    kind: str  # one of our own, "chained", or the plugins' names
    network: str  # a definition, or the configuration by which the runtime asked
    device: str  # the node's end, a PCI address, or a device plugin's id
    netns: str  # path
    netns_cookie: int
    slot: int = 0  # in the maps; 0: no program of ours sees it


@dataclass(frozen=True, slots=True)
class InterfaceRow:
    """One interface of a pod."""

    pod: str
    interface: str
    kind: str
    network: str
    device: str
    addresses: tuple[str, ...]
    mac: str
    mtu: int | None  # None, as the counters: it is not seen, as where an application has the device
    rx_packets: int | None
    rx_octets: int | None
    tx_packets: int | None
    tx_octets: int | None
    dropped: int | None  # received or sent
    policy: str  # empty: there are no maps to ask


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """One process in a pod's network namespace."""

    pod: str
    netns: str
    inode: int
    netns_cookie: int
    process: int | None  # None: nobody is in it whom this process sees
    command: str


INTERFACES: tuple[Column[InterfaceRow], ...] = (
    Column("POD", lambda r: r.pod),
    Column("INTERFACE", lambda r: r.interface),
    Column("KIND", lambda r: r.kind),
    Column("NETWORK", lambda r: r.network),
    Column("DEVICE", lambda r: r.device),
    Column("ADDRESSES", lambda r: " ".join(r.addresses)),
    Column("MTU", lambda r: _number(r.mtu), right=True),
    Column("RX PACKETS", lambda r: _number(r.rx_packets), right=True),
    Column("TX PACKETS", lambda r: _number(r.tx_packets), right=True),
    Column("DROPPED", lambda r: _number(r.dropped), right=True),
    Column("POLICY", lambda r: r.policy),
)
PROCESSES: tuple[Column[ProcessRow], ...] = (
    Column("POD", lambda r: r.pod),
    Column("NETNS", lambda r: r.netns),
    Column("INODE", lambda r: str(r.inode), right=True),
    Column("COOKIE", lambda r: str(r.netns_cookie), right=True),
    Column("PROCESS", lambda r: _number(r.process), right=True),
    Column("COMMAND", lambda r: r.command),
)


def pod_interfaces(state_dir: Path) -> tuple[PodInterface, ...]:
    """What the books have, by pod, each pod's in the order in which they were made."""
    boot = boot_id()
    entries = Journal(state_dir / ATTACHMENTS, boot).load()
    own = [one.saved for one in entries if one.saved is not None and one.stage in {Stage.MADE, Stage.ADDED}]
    vfs, _ = vf_journal(state_dir, boot).records()
    nics, _ = nic_journal(state_dir, boot).records()
    books = {
        (one.container, one.interface): one
        for one in (
            *(_of_attachment(saved.attachment, saved.network) for saved in own),
            *map(_of_device, vfs),
            *map(_of_device, nics),
        )
    }
    sets = [one for one in read(state_dir / NETWORKS) if one.boot == boot]
    further = {(each.container, each.interface): each for one in sets for each in _of_set(one)}
    first = [one for key, one in books.items() if key not in further]
    more = [  # what we have made has more to say than a definition
        replace(books[key], network=one.network) if key in books else one for key, one in further.items()
    ]
    return tuple(sorted((*first, *more), key=lambda one: (one.pod, one.container)))


def of_pod(every: Iterable[PodInterface], pod: str) -> tuple[PodInterface, ...]:
    """Those of a pod by namespace/name, by its name alone, or by its container, of which as much as tools show does.

    Raises:
        Absent: there is none, or there are several of that name.
    """
    there = tuple(every)
    exact = [one for one in there if pod in {one.pod, one.pod.rpartition("/")[2], one.container}]
    # less of a container's id is other pods' names, as "db", for a command that is to run in none but that one
    found = exact or [one for one in there if len(pod) >= SHOWN and one.container.startswith(pod)]
    pods = sorted({one.pod for one in found})
    if not pods:
        said = pod or repr(pod)
        raise Absent(f"no pod of this node is {said}, or it has no interface from here; type: dpctl pod interfaces")
    if len(pods) > 1:
        raise Absent(f"{pod} may be {' or '.join(pods)}; name one with its namespace")
    return tuple(found)


def sandbox(every: Iterable[PodInterface], pod: str) -> PodInterface:
    """An interface in the network namespace of a pod that :func:`of_pod` finds.

    Raises:
        Absent: as there; or it is gone, or has several, as while one takes another's place.
    """
    found = {one.container: one for one in of_pod(every, pod)}
    living = [one for one in found.values() if _is_there(one)]
    if len(living) > 1:
        raise Absent(f"{pod} has the containers {' and '.join(one.container for one in living)}; name one of them")
    if not living:
        one = next(iter(found.values()))
        raise Absent(f"{one.netns} of {one.pod} is gone")
    return living[0]


def _is_there(one: PodInterface) -> bool:
    """Whether a namespace is the one that ADD saw, and not another's at its path."""
    try:
        with open_netns(one.netns, may_be_host=True) as netns:
            return one.netns_cookie in {0, netns.cookie}
    except NoSuchNetns:
        return False


def interface_rows(every: Iterable[PodInterface], slots: Slots | None) -> Iterator[InterfaceRow]:
    """Rows with what the namespaces say; *slots* is None where there are no maps."""
    seen: dict[str, Mapping[str, tuple[CountedLink, tuple[str, ...]]]] = {}
    for one in every:
        if one.netns not in seen:
            seen[one.netns] = _devices(one)
        link, addresses = seen[one.netns].get(one.interface, (None, ()))
        yield InterfaceRow(
            pod=one.pod,
            interface=one.interface,
            kind=one.kind,
            network=one.network,
            device=one.device,
            addresses=addresses,
            mac=link.mac if link else "",
            mtu=link.mtu if link else None,
            rx_packets=link.rx_packets if link else None,
            rx_octets=link.rx_octets if link else None,
            tx_packets=link.tx_packets if link else None,
            tx_octets=link.tx_octets if link else None,
            dropped=link.rx_dropped + link.tx_dropped if link else None,
            policy=_policy(one, slots),
        )


def process_rows(one: PodInterface, proc: Path = Path("/proc")) -> Iterator[ProcessRow]:
    """Who is in a pod's network namespace, as far as this process sees processes.

    Raises:
        Absent: the namespace is gone.
    """
    try:
        inode = Path(one.netns).stat().st_ino
    except OSError as error:
        raise Absent(f"{one.netns} of {one.pod} is gone: {error.strerror}") from error
    rows = [
        ProcessRow(one.pod, one.netns, inode, one.netns_cookie, number, command)
        for number, command in _processes(proc, inode)
    ]
    yield from rows or [ProcessRow(one.pod, one.netns, inode, one.netns_cookie, None, "")]


def _processes(proc: Path, inode: int) -> Iterator[tuple[int, str]]:
    for path in sorted(proc.glob("[0-9]*"), key=lambda p: int(p.name)):
        try:
            if (path / "ns/net").stat().st_ino != inode:
                continue
            words = (path / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        except OSError:  # it has ended
            continue
        yield int(path.name), b" ".join(words).decode(errors="replace")


def _devices(one: PodInterface) -> Mapping[str, tuple[CountedLink, tuple[str, ...]]]:
    """The devices of a pod's namespace by name, with their addresses; none where it is another's by now."""
    try:
        with open_netns(one.netns, may_be_host=True) as netns:
            if one.netns_cookie and netns.cookie != one.netns_cookie:
                return {}
            dump = Dump(netns.pod)
            return {
                link.name: (link, tuple(str(a) for a in sorted(addresses_of(dump, link.index), key=_by_family)))
                for link in counted_links(dump)
            }
    except (NoSuchNetns, OSError):
        return {}


def _by_family(address: object) -> tuple[int, bool, str]:
    return (getattr(address, "version", 0), bool(getattr(address, "is_link_local", False)), str(address))


def _policy(one: PodInterface, slots: Slots | None) -> str:
    if not one.slot:
        return UNSEEN
    if slots is None:
        return ""
    found = slots.get(one.slot)
    if found is None or abi.RULES_UNKNOWN in {found.ingress, found.egress}:
        return CLOSED
    return POLICY[found.ingress >= abi.RULES_FIRST, found.egress >= abi.RULES_FIRST]


def _of_attachment(one: Attachment, network: str) -> PodInterface:
    return PodInterface(
        pod=str(one.pod or one.container_id),
        container=one.container_id,
        interface=one.interface,
        kind=CHAINED if one.link.is_chained else AFXDP if one.link.afxdp else VETH,
        network=network,
        device=one.link.host_device,
        netns=one.netns,
        netns_cookie=one.netns_cookie,
        slot=one.slot,
    )


def _of_device(one: VfRecord | NicRecord) -> PodInterface:
    return PodInterface(
        pod=str(one.pod or one.container_id),
        container=one.container_id,
        interface=one.interface,
        kind=str(one.kind),
        network=one.network,
        device=one.device if isinstance(one, NicRecord) else one.address,
        netns=one.netns,
        netns_cookie=one.netns_cookie,
        slot=one.slot,
    )


def _of_set(one: NetworkSet) -> Iterator[PodInterface]:
    for each in one.interfaces:
        yield PodInterface(
            pod=str(one.pod or one.container_id),
            container=one.container_id,
            interface=each.interface,
            kind=" ".join(plugin.kind for plugin in each.plugins if plugin.kind != OUR_PLUGIN),
            network=str(each.network),
            device=each.device,
            netns=one.netns,
            netns_cookie=one.netns_cookie,
        )


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def interface_table(every: Iterable[PodInterface], slots: Slots | None) -> Table[InterfaceRow]:
    """As :func:`interface_rows`."""
    return Table(INTERFACES, list(interface_rows(every, slots)))


def process_table(one: PodInterface) -> Table[ProcessRow]:
    """As :func:`process_rows`."""
    return Table(PROCESSES, list(process_rows(one)))
