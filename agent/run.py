"""The running agent, started from the kernel up, and ended from the top down.

Whatever it did stays when it ends: pods and services go on, and the next agent adopts them.
"""

import os
import resource
import signal
import time
from collections.abc import Mapping
from threading import Event
from typing import Protocol

from pyroute2 import IPRoute

from agent.assemble import Parts, assemble
from agent.ending import Ending
from agent.kernel.conflicts import conflicts, on_hooks, report
from agent.kernel.programs.start import claim, start
from agent.log import logger
from agent.options.choices import PodNetwork, ServiceProxy
from agent.options.config import Options
from agent.pods import fail_points
from agent.prepare import prepare
from maps import table
from maps.pins import PinRoot

log = logger(__name__)

TICK_S = 0.1
DESCRIPTORS = 1 << 16  # open files at most
COLLECT_S = 60.0  # between looks for pods that went without a DEL
FAIL_POINT = "SLUICEWAY_FAIL_AFTER_WRITES"
FAIL_AT = "SLUICEWAY_FAIL_AT"


class _Thread(Protocol):
    """A part with a thread of its own."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """End, and wait for it."""


def run(options: Options, environ: Mapping[str, str], ending: Ending) -> None:
    """Be the node's agent until SIGTERM or SIGINT, of which *ending* hears.

    Raises:
        AgentError: something is missing; its class and message say what.
        MapsError: another agent has the pins, or the kernel refused.
    """
    _arm(environ)
    _raise_descriptors()
    pins = PinRoot(options.pin_root)
    found = claim(options, pins)
    prepared = prepare(options)
    with IPRoute() as netlink:
        parts = assemble(options, prepared, start(options, pins, found), netlink)
        ending.running()
        _begin(parts)
        try:
            _follow(parts, ending.asked)
        finally:
            _end(parts)
    ending.done()
    log.info("agent ends; services and pods go on")


def _begin(parts: Parts) -> None:
    """Start the threads: living pods are adopted first, then the watches of node and cluster begin."""
    options = parts.core.options  # whoever else is meant to be there is no conflict
    others = options.network is PodNetwork.CHAINED
    serves, replaces = options.served is ServiceProxy.ON, options.replace_kube_proxy
    report(conflicts(None if others else options.cni_conf_dir, serves=serves, replaces=replaces))
    parts.http.start()
    if parts.health is not None:
        parts.health.start()
    parts.core.loop.adopt(parts.pods.cni.restore())
    order: tuple[_Thread | None, ...] = (
        parts.core.loop,
        parts.drift,
        parts.local,
        parts.denied,
        parts.bgp_passwords,
        parts.bgp_neighbours,
        parts.bgp,
        parts.bgp_status,
        parts.bgp_accepted,
        parts.servers,
        parts.core.sources,
        parts.pods.pooled.keeper,
        parts.allocator,
        parts.announcer,
        parts.replacement,
        parts.pods.collector,
        parts.pods.masters,
        parts.pods.hot_plug,
        parts.pods.network_status,
        parts.cni_socket,
    )
    for one in order:
        if one is not None:
            one.start()
    log.info("agent runs", node=options.node_name, pins=options.pin_root)


def _follow(parts: Parts, stopping: Event) -> None:
    """Report until *stopping*; after the first sync finish the start, keep the CNI plugin and collect dead pods."""
    core, pods, told = parts.core, parts.pods, parts.reporters
    has_synced = False
    collect_at = time.monotonic() + (0 if pods.earlier else COLLECT_S)
    while not stopping.wait(TICK_S):
        status = parts.status()
        told.status.report(status, core.waits_for())
        told.policy.report(core.loop.desired())
        told.announce.report(core.mirror.cluster, core.loop.desired().services.shares.refused)
        told.bgp.report(core.loop.desired().bgp.router)
        if told.ip_pools:
            told.ip_pools.report(core.mirror.cluster)
        if parts.bgp_status and parts.bgp:
            parts.bgp_status.look(core.mirror.cluster, parts.bgp.state)
        if parts.bgp_accepted:
            parts.bgp_accepted.look(core.mirror.cluster)
        core.sources.tell(status.problems)
        if status.synced and not has_synced:
            _finish_start(parts)
            has_synced = True
        if has_synced and parts.plugin is not None:
            parts.plugin.keep()
        # not before: it waits for the loop's thread, which must have the maps by then
        if has_synced and time.monotonic() >= collect_at:
            pods.cni.collect()
            if pods.earlier:
                pods.earlier.take_in()
            collect_at = time.monotonic() + COLLECT_S


def _finish_start(parts: Parts) -> None:
    """Move the links to the new maps, which are whole now, and report foreign programs on our hooks."""
    options, kernel = parts.core.options, parts.core.kernel
    if kernel.move.is_needed:
        kernel.move.finish(kernel.hooks.exchange)
        kernel.moved.set()
        parts.core.loop.resync_watched()  # XDP has waited for that
    devices = {d.ifindex: d.name for d in parts.uplinks()}
    report(on_hooks(kernel.hooks.foreign(devices, options.cgroup if options.has_socket_hooks else None)))


def _end(parts: Parts) -> None:
    """Stop the threads: first those that ask, then the loop, which writes."""
    order: tuple[_Thread | None, ...] = (
        parts.cni_socket,
        parts.replacement,
        parts.pods.pooled.keeper,
        parts.allocator,
        parts.announcer,
        parts.bgp,
        parts.bgp_status,
        parts.bgp_accepted,
        parts.bgp_passwords,
        parts.pods.hot_plug,
        parts.bgp_neighbours,
        parts.pods.collector,
        parts.pods.masters,
        parts.pods.network_status,
        parts.servers,
        parts.core.sources,
        parts.local,
        parts.denied,
        parts.drift,
        parts.core.loop,
    )
    for one in order:
        if one is not None:
            one.stop()
    parts.afxdp.stop()
    core, told = parts.core, parts.reporters
    told.status.report(parts.status(), core.waits_for(), now=True)
    told.policy.report(core.loop.desired(), now=True)
    told.announce.report(core.mirror.cluster, core.loop.desired().services.shares.refused, now=True)
    parts.http.stop()
    if parts.health is not None:
        parts.health.stop()


def _raise_descriptors() -> None:
    """Room for as many open files as the agent may ever need; the usual limit is 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _arm(environ: Mapping[str, str]) -> None:
    """For tests: die after so many writes to maps, or at a point of pods/fail_points.py, as if the power had gone."""
    if limit := int(environ.get(FAIL_POINT, "0")):
        table.on_write = lambda writes: os.kill(os.getpid(), signal.SIGKILL) if writes >= limit else None
    if wanted := environ.get(FAIL_AT):
        fail_points.reached = lambda point: os.kill(os.getpid(), signal.SIGKILL) if point == wanted else None
