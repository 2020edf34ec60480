"""Addresses for an interface on the cluster's network: of the pools that its pod, definition or place has theirs of.

Part of ``reserved``. A Pod whose annotations the runtime does not tell is waited for, and so is its Namespace, some
seconds and no longer.
"""

import time
from collections.abc import Callable, Collection, Iterable

from agent.compile.ip_pool import Choice, PoolMissing, first_choice, named_choice
from agent.compile.network_refused import NetworkRefused
from agent.ipam.pool import Addresses
from agent.ipam.pool_addresses import PoolAddresses
from agent.model.address import Address
from agent.model.cluster import Cluster
from agent.model.ip_pool import POOLS
from agent.pods.errors import AddressUnusable, NoFreeAddress, NotSynced
from agent.pods.request import PodRequest

WAIT_S = 5.0  # for a pod's object
LOOK_S = 0.02
FIELD = "ipam.pool"  # of a definition's configuration


class PoolChoice:
    """Who gets addresses of which pools on one node."""

    def __init__(  # noqa: PLR0913  who knows a part of it
        self,
        addresses: PoolAddresses,
        node_name: str,
        cluster: Callable[[], Cluster],
        *,
        waits: bool = True,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """*waits*: every pod has an object, which comes by the watch."""
        self._addresses, self._node, self._cluster = addresses, node_name, cluster
        self._waits, self._clock, self._sleep = waits, clock, sleep

    def reserve(self, request: PodRequest, wanted: Iterable[Address], own: Collection[Address]) -> Addresses:
        """Addresses for one interface; *wanted* and *own* as ``Ipam.reserve`` has them.

        Raises:
            NoAddress, AddressRefused: as that.
            NoFreeAddress, AddressUnusable, NotSynced: it is not known which pool, or it may have none of that.
        """
        try:
            choice = self._choice(request)
        except PoolMissing as error:
            raise NoFreeAddress(str(error)) from error
        except NetworkRefused as error:
            raise AddressUnusable(str(error)) from error
        return self._addresses.reserve(choice, wanted, own, with_cidrs=not request.pool)

    def beside(self, namespace: str, pools: str) -> Choice:
        """The pools of an interface on a network beside the cluster's, by their names in its definition.

        Raises:
            NoFreeAddress, AddressUnusable: as :meth:`reserve`.
        """
        try:
            choice = named_choice(self._cluster(), self._node, namespace, pools, FIELD, is_beside=True)
        except PoolMissing as error:
            raise NoFreeAddress(str(error)) from error
        except NetworkRefused as error:
            raise AddressUnusable(str(error)) from error
        if not choice.pools:  # else it had of the cluster's network
            raise AddressUnusable(f"{FIELD}: {pools!r} names no IPPool")
        return choice

    def _choice(self, request: PodRequest) -> Choice:
        namespace = request.pod.namespace if request.pod else ""
        if request.pool:
            return named_choice(self._cluster(), self._node, namespace, request.pool, FIELD)
        if request.pod is None:
            return first_choice(self._cluster(), self._node, namespace, "")
        annotation = self._annotation(request)
        self._await_namespace(namespace)
        return first_choice(self._cluster(), self._node, namespace, annotation)

    def _await_namespace(self, name: str) -> None:
        """Until it is known what its labels and its annotation say: a pod keeps the address that it is given first."""
        until = self._clock() + WAIT_S
        while self._waits and name not in self._cluster().namespaces:
            if self._clock() >= until:
                raise NotSynced(f"Namespace {name} is not known yet, nor the pools that it is for")
            self._sleep(LOOK_S)

    def _annotation(self, request: PodRequest) -> str:
        """What the Pod says: as the runtime tells it, or its object."""
        if request.annotations:
            return request.annotations.get(POOLS, "")
        until = self._clock() + WAIT_S
        while request.pod is not None:
            found = self._cluster().pods.get(request.pod)
            if found is not None and found.is_of(request.pod_uid):
                return found.ip_pools
            if not self._waits:
                return ""
            if self._clock() >= until:
                raise NotSynced(f"Pod {request.pod} is not known yet, nor the pools that it asks for")
            self._sleep(LOOK_S)
        return ""
