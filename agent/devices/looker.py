"""The device plugin's one thread that looks: configuration and hardware in, pools, CDI files and registrations out."""

import socket
from collections.abc import Iterable, Iterator, Mapping
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
from agent.devices.kubelet.registered import Registered
from agent.devices.options import DeviceOptions
from agent.devices.pools import Pools, arrange
from agent.log import logger
from agent.model.device import Hardware
from agent.netlink.dump import Dump
from agent.netlink.ways_out import default_route_devices
from agent.threads import Threads, Worker

log = logger(__name__)

LOOK_S = 5.0  # where nothing tells of a change, as of the configuration's
RETRY_S = 1.0  # while something is in the way
OWN_ROOT = Path("/")  # whose routes are those of this namespace


class Looker:
    """Keeps what the kubelet knows equal to what is there."""

    def __init__(
        self, options: DeviceOptions, inventory: Inventory, given: Given, count: Count, threads: Threads
    ) -> None:
        self._options = options
        self._inventory = inventory
        self._given = given
        self._count = count
        self._configuration = Configuration(options.config_file, options.resource_prefix)
        self._configured = Configured()
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
                changes.wait(self._worker.wake, RETRY_S if self.waits_for() else LOOK_S)
        finally:
            changes.close()
            for each in self._registered.values():
                each.stop()

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
        for name, pool in pools.items():
            if name not in self._registered and pool.devices:
                self._registered[name] = self._new(name)
            if name in self._registered:
                self._registered[name].keep()

    def _new(self, name: str) -> Registered:
        options = self._options
        plugin = Plugin(name, self._inventory, self._hardware, options.run_dir, self._count, uses_cdi=options.use_cdi)
        return Registered(options.kubelet_dir, plugin)


def routed_devices() -> frozenset[str] | None:
    """The devices of the node's default routes; None: the kernel does not answer."""
    try:
        with Dump() as dump:
            indices = tuple(default_route_devices(dump))
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
