"""What a node does that announces no more: it answers for nothing, gives its Lease back, and is followed at once."""

import time
from collections.abc import Iterable
from contextlib import closing

from agent.announce.announcer import LABEL, VALUE, lease_name
from agent.kube.leases import Leases, give_back
from agent.log import logger
from maps import abi
from maps.errors import LayoutMismatch
from maps.pins import Generation
from maps.registry import open_table

log = logger(__name__)

FOLLOWED_S = 1.0  # in which others have looked (PERIOD_S), answer, and have told the subnet


def silence(generations: Iterable[Generation]) -> bool:
    """Have the programs answer for no address any more, which serve what is sent here as before; whether they did."""
    was_heard = False
    for generation in generations:
        if not generation.map_path(abi.ANNOUNCING.name).exists():
            continue
        try:
            with closing(open_table(abi.ANNOUNCING, generation.maps)) as table:
                found = table.get(0) or abi.Announcing(0, 0)
                table.update([(0, abi.Announcing(found.fresh_until_ns, 0))])
        except LayoutMismatch as error:
            log.warning("addresses are announced until the programs go", why=error)
            continue
        was_heard |= found.until_ns > 0
    return was_heard


def leave(leases: Leases, node: str) -> None:
    """Have others take over, and wait until they have, if there are any; after :func:`silence`, lest two answer.

    Raises:
        Refused, TROUBLE: they do once the Lease has ended by itself.
    """
    if not give_back(leases, lease_name(node), lambda holder: holder == node):
        return
    log.info("lease is given back", lease=lease_name(node))
    if any(lease.holder for lease in leases.list(f"{LABEL}={VALUE}")):
        time.sleep(FOLLOWED_S)
