"""What is undone when the agent leaves for good: peers are told that nothing is here, and BIRD's routes go."""

import errno
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

from agent.bgp.control import BirdError, Control
from agent.bgp.keeper import CONFIG, FOLDER, SOCKET
from agent.bgp.sessions import session_states
from agent.compile.bgp.bird import METRIC, START
from agent.kernel.net.routes import destination_of
from agent.log import logger
from agent.netlink import requests
from agent.netlink.dump import Dump
from agent.netlink.requests import FAMILIES
from agent.netlink.rtnetlink import ROUTE as HEAD
from agent.netlink.rtnetlink import RTA_PRIORITY, RTPROT_BIRD, attribute, number
from agent.netlink.socket import Socket
from agent.unix_socket import is_left

log = logger(__name__)

WITHDRAWN_WITHIN_S = 3.0  # from all peers
_LOOK_S = 0.02
_FOLLOWED_S = 0.3  # in which a router has its own tables follow: 40 ms with 10,000 prefixes


def leave(run_dir: Path, wait_s: float = 0.0) -> None:
    """Have BIRD withdraw what it told, and take its routes away; nothing where there is no BIRD of ours.

    Peers are waited for, so long at most, until they send nothing here any more.

    Raises:
        OSError: the kernel refused.
    """
    folder = run_dir / FOLDER
    config, control = folder / CONFIG, folder / SOCKET
    is_ended = is_left(control)  # a BIRD that was killed took no socket away
    if not config.exists() and not is_ended:
        return
    config.write_text(START)
    with suppress(BirdError), Control(control) as bird:  # one that does not run tells nobody anything
        bird.ask(f'configure "{config}"')
        if wait_s:
            _wait(bird, wait_s)
    for name in remove_routes():
        log.info("route of BGP removed", destination=name)
    if is_ended or not control.exists():
        shutil.rmtree(folder)
        return
    for path in folder.iterdir():
        if path.name != SOCKET:  # where a BIRD that runs still hears; a candidate may have passwords too
            path.unlink()


def _wait(bird: Control, wait_s: float) -> None:
    """Until BIRD has taken leave of its peers, each of which it has as long as that is not sent, and these follow."""
    deadline = time.monotonic() + wait_s
    while session_states(bird.ask("show protocols all")) and time.monotonic() < deadline:
        time.sleep(_LOOK_S)
    time.sleep(_FOLLOWED_S)


def remove_routes() -> tuple[str, ...]:
    """Take away the routes that are BIRD's by our metric; their destinations."""
    done = []
    with Dump() as dump, Socket() as kernel:
        for family in FAMILIES.values():
            for body in dump.routes(family, protocol=RTPROT_BIRD):
                if number(attribute(body, HEAD.size, RTA_PRIORITY)) != METRIC:
                    continue
                destination = destination_of(body)
                (error,) = kernel.attempt(requests.delete_route(destination, RTPROT_BIRD, METRIC))
                if error not in {0, errno.ESRCH}:
                    raise OSError(error, f"remove the route to {destination}: {os.strerror(error)}")
                done.append(str(destination))
    return tuple(done)
