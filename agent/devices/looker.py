"""The device plugin's one thread that looks: configuration and hardware in, pools, CDI files and registrations out.

Of two on a node, as where one ends late, the newest offers devices. The older one sees that the socket for answers is
another's, lets go of all that it offers, and looks on until that one has ended; the newest waits for it to let go, but
not for ever, before the kubelet hears of a resource: no device is offered twice.
"""

import secrets
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from time import monotonic

from agent.devices import cdi, sysfs
from agent.devices.candidates import remembered
from agent.devices.changes import Changes
from agent.devices.configuration import Configuration, Configured
from agent.devices.given import Given
from agent.devices.inventory import Inventory, Known
from agent.devices.kubelet.calls import PLUGINS
from agent.devices.kubelet.plugin import Count, Plugin
from agent.devices.kubelet.registered import Registered, others
from agent.devices.options import DeviceOptions
from agent.devices.pools import Pools, arrange
from agent.log import logger
from agent.model.device import Hardware
from agent.netlink.dump import Dump
from agent.netlink.ways_out import default_route_devices, main_routes
from agent.threads import Threads, Worker

log = logger(__name__)

LOOK_S = 5.0  # where nothing tells of a change, as of the configuration's
RETRY_S = 1.0  # while something is in the way
HANDOVER_S = 10.0  # for one that does not let go
OLDER, NEWER = "another device plugin has not let go of its resources yet", "a newer device plugin runs on this node"
OWN_ROOT = Path("/")  # whose routes are those of this namespace


class Looker:
    """Keeps what the kubelet knows equal to what is there."""

    def __init__(  # noqa: PLR0913, PLR0917  what it reads, and whom it tells
        self,
        options: DeviceOptions,
        inventory: Inventory,
        given: Given,
        count: Count,
        threads: Threads,
        is_newest: Callable[[], bool],
    ) -> None:
        """*is_newest* tells whether the node has no newer device plugin; raises OSError where that cannot be seen."""
        self._options = options
        self._inventory = inventory
        self._given = given
        self._count = count
        self._configuration = Configuration(options.config_file, options.resource_prefix)
        self._configured = Configured()
        self._is_newest = is_newest
        self._token = secrets.token_hex(4)
        self._older_until_s: float | None = None  # another one is waited for, by a steady clock
        self._registered: dict[str, Registered] = {}
        self._error = "it has not looked yet"
        self._worker = Worker(threads, "devices", self._run)

    def start(self) -> None:
        """Begin."""
        self._worker.start()

    def stop(self) -> None:
        """Look and serve no more."""
        self._worker.stop()

    def waits_for(self) -> str:
        """Why not all resources are offered; empty: they are."""
        errors = (f"{name}: {one.error}" for name, one in self._registered.copy().items() if one.error)
        return "; ".join(filter(None, (self._error, *errors)))

    def look(self) -> None:
        """Read what is there, tell who waits for changes, and have each resource served and registered."""
        if not self._has_node():
            self._stand_aside()
            return
        hardware = self._hardware()
        configured = self._configuration.read()
        is_new = configured.resources != self._configured.resources
        self._configured = configured
        earlier: Mapping[str, str] = {} if is_new else self._inventory.now().pools.owners
        pools = arrange(configured.resources, hardware, self._given.owners(monotonic()), earlier)
        pools = replace(pools, problems=(*configured.problems, *pools.problems))
        _tell(self._inventory.now().pools, pools)
        known = Known(hardware, pools)
        self._place_cdi(known)
        self._inventory.put(known)
        self._serve(known)

    def _hardware(self) -> Hardware:
        """What is there now."""
        root = self._options.root
        return remembered(
            sysfs.read(root, routed_devices() if root == OWN_ROOT else None), self._inventory.now().hardware
        )

    def _run(self) -> None:
        changes = Changes(self._options.kubelet_dir / PLUGINS)
        try:
            while not self._worker.is_stopping:
                with self._worker.busy():
                    self.look()
                changes.wait(self._worker.wake, RETRY_S if self.waits_for() not in {"", NEWER} else LOOK_S)
        finally:
            changes.close()
            for each in self._registered.values():
                each.stop()

    def _has_node(self) -> bool:
        try:
            return self._is_newest()
        except OSError as error:
            log.warning("whether there is a newer device plugin cannot be seen", why=error)
            return True

    def _stand_aside(self) -> None:
        """Offer nothing; CDI files are the newer one's."""
        if self._error != NEWER:
            log.warning("a newer device plugin runs on this node, and has its devices; this one waits for its end")
        self._error, self._older_until_s = NEWER, None
        known = Known(self._inventory.now().hardware)
        self._inventory.put(known)
        self._serve(known)

    def _waits_for_older(self) -> str:
        """Why no resource is registered yet; another one hears of us by our sockets beside its own."""
        if not others(self._options.kubelet_dir, self._token):
            self._older_until_s = None
            return ""
        now_s = monotonic()
        if self._older_until_s is None:
            self._older_until_s = now_s + HANDOVER_S
            log.info(OLDER)
        return OLDER if now_s < self._older_until_s else ""

    def _place_cdi(self, known: Known) -> None:
        """Before the kubelet hears of devices whose names it tells the runtime."""
        self._error = ""
        if not self._options.use_cdi:
            return
        try:
            cdi.place(self._options.cdi_dir, cdi.specs(known.pools.pools, known.hardware))
        except OSError as error:
            self._error = f"cannot write CDI files to {self._options.cdi_dir}: {error.strerror}"
            log.warning("CDI files are not written", folder=self._options.cdi_dir, error=error)

    def _serve(self, known: Known) -> None:
        """A resource is offered from its first device on, and as long as it is configured."""
        pools = {pool.resource.name: pool for pool in known.pools.pools}
        for name in [name for name in self._registered if name not in pools]:
            self._registered.pop(name).stop()
            log.info("resource is no longer offered", resource=name)
        waits_for = self._waits_for_older() if pools else ""
        for name, pool in pools.items():
            if name not in self._registered and pool.devices:
                self._registered[name] = self._new(name)
            if name in self._registered:
                self._registered[name].keep(waits_for)

    def _new(self, name: str) -> Registered:
        options = self._options
        plugin = Plugin(name, self._inventory, self._hardware, options.run_dir, self._count, uses_cdi=options.use_cdi)
        return Registered(options.kubelet_dir, plugin, self._token)


def routed_devices() -> frozenset[str] | None:
    """The devices of the node's default routes; None: the kernel does not answer."""
    try:
        with Dump() as dump:
            indices = tuple(default_route_devices(main_routes(dump)))
    except OSError as error:
        log.warning("default routes are read from proc", why=error)
        return None
    return frozenset(_names(indices))


def _names(indices: Iterable[int]) -> Iterator[str]:
    for index in indices:
        with suppress(OSError):  # it went meanwhile, and its routes with it
            yield socket.if_indextoname(index)


def _tell(before: Pools, now: Pools) -> None:
    """Log what has changed of devices and problems."""
    for problem in now.problems:
        if problem not in before.problems:
            log.warning("problem", object=problem.name, field=problem.field, why=problem.text)
    states = {(pool.resource.name, device.id): device.trouble for pool in before.pools for device in pool.devices}
    for pool in now.pools:
        for device in pool.devices:
            was = states.get((pool.resource.name, device.id), "")
            if device.trouble and device.trouble != was:
                log.warning("device is unhealthy", resource=pool.resource.name, device=device.id, why=device.trouble)
            elif was and not device.trouble:
                log.info("device is healthy again", resource=pool.resource.name, device=device.id)
