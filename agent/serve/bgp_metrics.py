"""What Prometheus reads of BGP; nothing where the node speaks none."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from agent.bgp.keeper import BgpState

LABELS = ("peer", "address")


def bgp_families(state: BgpState | None) -> Iterator[Metric]:
    """BIRD, and each session by who asked for it."""
    if state is None:
        return
    yield GaugeMetricFamily(
        "sluiceway_bgp_up", "Whether BIRD runs and holds what is wanted.", value=state.is_running and not state.trouble
    )
    up = GaugeMetricFamily("sluiceway_bgp_session_up", "Whether a BGP session is established.", labels=LABELS)
    taken = GaugeMetricFamily("sluiceway_bgp_imported_prefixes", "Prefixes taken of a peer.", labels=LABELS)
    told = GaugeMetricFamily("sluiceway_bgp_exported_prefixes", "Prefixes told to a peer.", labels=LABELS)
    lost = CounterMetricFamily("sluiceway_bgp_session_losses", "How often a session was lost.", labels=LABELS)
    seen = CounterMetricFamily("sluiceway_bgp_updates_received", "Prefixes that a peer has sent.", labels=LABELS)
    sent = CounterMetricFamily("sluiceway_bgp_updates_sent", "Prefixes that a peer has been sent.", labels=LABELS)
    bfd = GaugeMetricFamily("sluiceway_bgp_bfd_up", "Whether BFD hears of a peer, where it watches it.", labels=LABELS)
    limited = GaugeMetricFamily(
        "sluiceway_bgp_import_limited", "Whether a peer has told more than its limit.", labels=LABELS
    )
    for one in state.sessions:
        labels = (state.about.get(one.name, one.name), one.address)
        up.add_metric(labels, one.is_up)
        taken.add_metric(labels, one.imported)
        told.add_metric(labels, one.exported)
        lost.add_metric(labels, state.flaps.get(one.name, 0))
        seen.add_metric(labels, one.updates_in)
        sent.add_metric(labels, one.updates_out)
        limited.add_metric(labels, one.is_limited)
        if one.bfd:
            bfd.add_metric(labels, one.bfd == "Up")
    for unmet in state.absent:
        up.add_metric(unmet, value=False)
    yield from (up, taken, told, lost, seen, sent, limited, bfd)
