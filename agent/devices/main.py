"""sluiceway-devices: offers the node's devices to the kubelet, until SIGTERM or SIGINT."""

import os
import sys
from contextlib import ExitStack
from errno import EADDRINUSE
from socket import socket

from agent.devices.answers import Answers
from agent.devices.given import Given
from agent.devices.inventory import Inventory
from agent.devices.kubelet.pod_resources import PodResources
from agent.devices.looker import Looker
from agent.devices.metrics import DeviceMetrics
from agent.devices.options import DeviceOptions, load
from agent.ending import Ending
from agent.errors import AgentError, ConfigError
from agent.log import configure, logger
from agent.pods.pod_devices import SOCKET
from agent.serve.http import HttpServer, bound
from agent.threads import Threads
from agent.unix_socket import answers as is_answered

log = logger(__name__)

RETRY_S = 1.0


def main() -> int:
    """The entry point; the exit code says what went wrong (agent/errors.py)."""
    try:
        options = load(sys.argv[1:], os.environ)
        configure(options.log_level, options.log_format)
        run(options, Ending())
    except AgentError as error:
        sys.stderr.write(f"sluiceway-devices: {error}\n")
        return error.exit_code
    except OSError as error:
        sys.stderr.write(f"sluiceway-devices: {error}\n")
        return 1
    return 0


def run(options: DeviceOptions, ending: Ending) -> None:
    """Be the node's device plugin, in the place of an older one that runs.

    Raises:
        AgentError: the address of the metrics is not free, and no older one has it.
        OSError: the folder of the socket cannot be written.
    """
    threads = Threads()
    inventory = Inventory()
    given = Given(PodResources(options.kubelet_dir), inventory)
    metrics = DeviceMetrics(inventory.now)
    answers = Answers(options.run_dir, given.answer, threads)
    looker = Looker(options, inventory, given, metrics.count, threads, answers.keep)
    listener = _listener(options.listen, has_older=is_answered(options.run_dir / SOCKET))
    ending.running()
    answers.start()
    looker.start()
    log.info("device plugin runs", config=options.config_file)
    while listener is None and not ending.asked.wait(RETRY_S):
        listener = _listener(options.listen, has_older=True)
    with ExitStack() as served:
        if listener is not None:
            http = HttpServer(listener, metrics.registry, threads, ready=looker.waits_for, alive=threads.trouble)
            http.start()
            served.callback(http.stop)
        ending.asked.wait()
        looker.stop()
    answers.stop()
    ending.done()
    log.info("device plugin ends; pods keep their devices")


def _listener(listen: tuple[str, int], *, has_older: bool) -> socket | None:
    """Where metrics and health are served; None: an older device plugin has the address until it ends.

    Raises:
        ConfigError: the address cannot be bound.
    """
    try:
        return bound(listen)
    except ConfigError as error:
        if has_older and isinstance(error.__cause__, OSError) and error.__cause__.errno == EADDRINUSE:
            return None
        raise


if __name__ == "__main__":
    sys.exit(main())
