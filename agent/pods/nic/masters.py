"""The thread that hears of devices of the node that have another MAC, for the pods' devices that have it with them."""

from collections.abc import Callable
from threading import Event

from agent.model.cluster import Cluster
from agent.model.local import Device
from agent.threads import Threads


class MasterMacs:
    """Has *follow* called when a device of the node has another MAC, or has come."""

    def __init__(self, follow: Callable[[], None], threads: Threads) -> None:
        self._follow = follow
        self._devices: tuple[Device, ...] = ()
        self._macs: dict[int, bytes] = {}
        self._wake = Event()
        self._thread = threads.make("master-macs", self._run)

    def offer(self, cluster: Cluster) -> None:
        """Go by *cluster* from now on; returns at once."""
        devices = cluster.local.devices
        if devices is self._devices:
            return
        macs = {device.ifindex: device.mac for device in devices}
        is_news = any(self._macs.get(index) != mac for index, mac in macs.items())
        self._devices, self._macs = devices, macs
        if is_news:
            self._wake.set()

    def start(self) -> None:
        """Begin, when what an earlier agent left is known."""
        self._thread.start()

    def stop(self, timeout_s: float = 1.0) -> None:
        """End."""
        self._thread.end()
        self._wake.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._thread.is_ending:
            self._wake.wait()
            self._wake.clear()
            if not self._thread.is_ending:
                with self._thread.busy():
                    self._follow()
