"""What Prometheus reads of the device plugin."""

from collections import Counter as Tally
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from agent.devices.inventory import Known


class DeviceMetrics:
    """The registry, and what is counted as it happens."""

    def __init__(self, known: Callable[[], Known]) -> None:
        self.registry = CollectorRegistry()
        self._allocations = Counter(
            "sluiceway_device_allocations",
            "Requests of the kubelet for a container's devices, given or refused.",
            ["resource", "result"],
            registry=self.registry,
        )
        self.registry.register(_Known(known))
        ProcessCollector(registry=self.registry)

    def count(self, resource: str, result: str) -> None:
        """One request."""
        self._allocations.labels(resource, result).inc()


class _Known(Collector):
    def __init__(self, known: Callable[[], Known]) -> None:
        self._known = known

    def collect(self) -> Iterator[Metric]:
        """The pools of now."""
        pools = self._known().pools
        devices = GaugeMetricFamily("sluiceway_devices", "Devices of a resource.", labels=["resource", "health"])
        for pool in pools.pools:
            tally = Tally("unhealthy" if device.trouble else "healthy" for device in pool.devices)
            for health in ("healthy", "unhealthy"):
                devices.add_metric([pool.resource.name, health], tally[health])
        yield devices
        yield GaugeMetricFamily(
            "sluiceway_device_problems", "Mistakes in the configuration of devices.", value=len(pools.problems)
        )
