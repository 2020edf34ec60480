"""The Leases that a node gives back when its agent leaves for good, so that others need not wait for them to end.

An API server that is away holds nothing up: a Lease that is not given back ends by itself.
"""

import time
from collections.abc import Callable, Iterable
from functools import partial
from threading import Thread

from agent.announce import leave as announce
from agent.announce.announcer import REQUEST_S
from agent.errors import ConfigError
from agent.ipam.lb_allocator import LEASE
from agent.json_text import NOT_JSON
from agent.kube.client import TROUBLE, Refused
from agent.kube.leases import Leases, Timing, give_back, is_of
from agent.log import logger
from agent.options.config import Options
from agent.watch.source import api_client
from maps.pins import Generation

log = logger(__name__)

LIMIT_S = 8.0  # for all of it, whatever hangs: a plugin for credentials may


def leave_leases(options: Options, generations: Iterable[Generation], limit_s: float = LIMIT_S) -> None:
    """Give back what this node holds, while its programs still serve; no agent runs any more."""
    steps = []
    if announce.silence(generations):
        steps.append(partial(announce.leave, node=options.node_name))
    if options.loadbalancer_pools:
        steps.append(partial(_leave_allocation, node=options.node_name))
    if not steps:
        return
    # a thread of its own, which nobody waits for in the end
    asking = Thread(target=_ask, args=(options, steps), name="lease-leave", daemon=True)
    asking.start()
    asking.join(limit_s)
    if asking.is_alive():
        log.warning("leases are not given back in time; they end by themselves", waited_s=limit_s)


def _ask(options: Options, steps: Iterable[Callable[[Leases], None]]) -> None:
    try:
        client = api_client(options)
    except ConfigError as error:
        _tell(error)
        return
    if client is None:
        return
    for step in steps:
        try:
            step(Leases(client, REQUEST_S))
        except (Refused, *TROUBLE, *NOT_JSON) as error:
            _tell(error)


def _tell(error: Exception) -> None:
    log.warning("lease is not given back; it ends by itself", why=" ".join(str(error).split()))


def _leave_allocation(leases: Leases, node: str) -> None:
    """An agent that ends gives it back. One that was killed may have sent what is still to be carried out."""
    held = leases.get(LEASE)
    if held is None or not is_of(held.holder, node):
        return
    time.sleep(Timing().request_s)
    if give_back(leases, LEASE, lambda holder: holder == held.holder):
        log.info("lease is given back", lease=LEASE)
