"""The commands' part in pods' further networks: requests in, calls of ``agent.pods.networks``, results out."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import msgspec

from agent.cni.capabilities import RUNTIME_ASKS
from agent.cni.error import CniError, Code, refused
from agent.cni.network_source import NetworkSource
from agent.cni.request import Request
from agent.compile.network import DefinitionMissing, PodInterfaces
from agent.compile.network_refused import NetworkRefused
from agent.compile.network_status import Entry, entries
from agent.compile.result_version import as_version
from agent.model.attachment import AttachmentKey
from agent.model.name import Problem
from agent.model.network import InterfaceRequest
from agent.netlink.netns import NoSuchNetns, open_netns
from agent.pods.errors import NetnsUnusable, NetworkFailed, PodRefused
from agent.pods.network_record import NetworkSet
from agent.pods.networks import Made, Networks

OnMade = Callable[[NetworkSet], None]


class PodNetworks:
    """The networks of one node's pods, in the words of CNI."""

    def __init__(  # noqa: PLR0913  who does a part of the work
        self,
        networks: Networks,
        source: NetworkSource | None,
        boot: str,
        on_made: Iterable[OnMade] = (),
        *,
        clock: Callable[[], int] = lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME),
        cookie_of: Callable[[Request], int] = lambda request: _cookie(request),  # noqa: PLW0108  it stands below
    ) -> None:
        """*source* is None where pods are given no further networks; what they have is unmade all the same.

        *on_made* hear of each pod whose networks are made, also of those from before a restart.
        """
        self._networks = networks
        self._source = source
        self._boot = boot
        self._on_made = tuple(on_made)
        self._clock = clock
        self._cookie_of = cookie_of

    @property
    def is_on(self) -> bool:
        """Whether pods are given further networks."""
        return self._source is not None

    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with pods' annotations, and with networks in use; for one thread."""
        return (*(self._source.problems() if self._source else ()), *self._networks.problems)

    def restore(self) -> None:
        """Take over what an earlier agent left."""
        self._networks.restore()
        for one in self._networks.all():
            if one.is_whole and one.boot == self._boot and one.status:
                self._tell(one)

    def wanted(self, request: Request) -> PodInterfaces | None:
        """What the pod of an ADD asks for; None: nothing but our own interface.

        Raises:
            CniError: it cannot have that.
        """
        if self._source is None or request.pod is None:
            return None
        try:
            return self._source.interfaces(request.pod, request.pod_uid, request.asked.annotations, request.interface)
        except DefinitionMissing as error:
            raise CniError(Code.TRY_LATER, str(error)) from error
        except NetworkRefused as error:
            raise CniError(Code.CONFIG, str(error)) from error
        except PodRefused as error:
            raise refused(error) from error

    def add(self, request: Request, wanted: PodInterfaces, ours: bytes) -> bytes:
        """Make them; what the runtime is answered: *ours*, or the first's result where that is another's.

        Raises:
            CniError: it failed, and nothing of them is left.
        """
        first = _first_entries(request, ours) if wanted.first is None else ()
        try:
            made = self._networks.add(self._owner(request, wanted), _told_all(request, wanted), first)
        except PodRefused as error:
            raise refused(error) from error
        self._tell(made.owner)
        return ours if wanted.first is None else _answer(request, made)

    def delete(self, request: Request) -> None:
        """Unmake what the container has.

        Raises:
            PodRefused: a plugin refused.
        """
        if request.is_late:
            self._networks.leave(request.key, request.asked_at_ns)
        else:
            self._networks.delete(request.key, request.asked_at_ns)

    def busy(self, key: AttachmentKey) -> AbstractContextManager[None]:
        """While a request is at a container."""
        return self._networks.busy.at(key)

    def has_first(self, key: AttachmentKey) -> bool:
        """Whether the container's first interface is another plugin's."""
        found = self._networks.find(key)
        return found is not None and found.replaces_first

    def check(self, key: AttachmentKey) -> None:
        """Ask the plugins.

        Raises:
            CniError: something is not as they made it.
        """
        try:
            self._networks.check(key)
        except NetworkFailed as error:
            raise CniError(Code.CHECK, "a further interface is not as ADD left it", str(error)) from error

    def keep_only(self, request: Request) -> tuple[str, ...]:
        """As GC asks for; what went wrong."""
        return self._networks.keep_only(request.network, request.valid or frozenset(), request.asked_at_ns)

    def _tell(self, one: NetworkSet) -> None:
        for hears in self._on_made:
            hears(one)

    def _owner(self, request: Request, wanted: PodInterfaces) -> NetworkSet:
        return NetworkSet(
            container_id=request.container_id,
            interface=request.interface,
            netns=request.netns,
            netns_cookie=self._cookie_of(request),
            cluster_network=request.network,
            boot=self._boot,
            interfaces=(),
            pod=request.pod,
            pod_uid=request.pod_uid,
            asked_at_ns=request.asked_at_ns or self._clock(),
            replaces_first=wanted.first is not None,
        )


def _told_all(request: Request, wanted: PodInterfaces) -> tuple[InterfaceRequest, ...]:
    """The interfaces, of which the first is told what the runtime asks of it: the Pod's host ports and bandwidth.

    What the annotation says of one goes before. A plugin is told what it declares, and no more.

    Source: Multus 4.3, which gives what is Kubernetes' own to the first network alone.
    """
    if wanted.first is None:
        return wanted.all
    said: dict[str, Any] = request.config.get("runtimeConfig") or {}
    asked = {key: said[key] for key in RUNTIME_ASKS if said.get(key)} | msgspec.json.decode(wanted.first.runtime)
    return replace(wanted.first, runtime=msgspec.json.encode(asked).decode()), *wanted.more


def _cookie(request: Request) -> int:
    try:
        with open_netns(request.netns, may_be_host=request.may_be_host) as netns:
            return netns.cookie
    except NoSuchNetns as error:
        raise NetnsUnusable(str(error)) from error


def _first_entries(request: Request, ours: bytes) -> Iterator[Entry]:
    """What network-status says of our own interface, which is the last of the result."""
    result: dict[str, Any] = msgspec.json.decode(ours)
    own = [
        {**one, "sandbox": one.get("sandbox", "") if one.get("name") == request.interface else ""}
        for one in result.get("interfaces") or ()
    ]
    return entries(request.network, request.interface, {**result, "interfaces": own}, is_default=True)


def _answer(request: Request, made: Made) -> bytes:
    """The first interface's result; runtimes refuse a pod whose first interface has no address."""
    return msgspec.json.encode(as_version(made.results[0], request.version))
