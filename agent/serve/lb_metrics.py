"""What Prometheus reads of load balancers' addresses, at the node that takes part in giving them."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from agent.ipam.lb_pool import AllocatorUse


def allocator_families(use: AllocatorUse | None) -> Iterator[Metric]:
    """Its families; none where the option is off."""
    if use is None:
        return
    yield GaugeMetricFamily(
        "sluiceway_lb_allocator", "Whether this node gives load balancer addresses.", value=int(use.is_leader)
    )
    yield GaugeMetricFamily("sluiceway_lb_services_waiting", "Services without the address they want.", use.waiting)
    yield GaugeMetricFamily("sluiceway_lb_problems", "What Services or pools ask for and cannot have.", use.problems)
    yield CounterMetricFamily("sluiceway_lb_writes", "Services whose addresses were written.", value=use.writes)
    yield CounterMetricFamily("sluiceway_lb_write_failures", "Writes that failed, and are tried again.", use.failures)
    total = GaugeMetricFamily("sluiceway_lb_pool_addresses", "Addresses of a LoadBalancerPool.", labels=["pool"])
    used = GaugeMetricFamily("sluiceway_lb_pool_addresses_used", "Those in use.", labels=["pool"])
    for name, (has, uses) in use.pools.items():
        total.add_metric([name], has)
        used.add_metric([name], uses)
    yield from (total, used)
