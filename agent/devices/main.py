"""sluiceway-devices: offers the node's devices to the kubelet, until SIGTERM or SIGINT."""

import os
import sys

from agent.devices.answers import Answers
from agent.devices.given import Given
from agent.devices.inventory import Inventory
from agent.devices.kubelet.pod_resources import PodResources
from agent.devices.looker import Looker
from agent.devices.metrics import DeviceMetrics
from agent.devices.options import DeviceOptions, load
from agent.ending import Ending
from agent.errors import AgentError
from agent.log import configure, logger
from agent.serve.http import HttpServer, bound
from agent.threads import Threads

log = logger(__name__)


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
    """Be the node's device plugin.

    Raises:
        AgentError: the address of the metrics is not free.
        OSError: the folder of the socket cannot be written.
    """
    threads = Threads()
    inventory = Inventory()
    given = Given(PodResources(options.kubelet_dir), inventory)
    metrics = DeviceMetrics(inventory.now)
    looker = Looker(options, inventory, given, metrics.count, threads)
    answers = Answers(options.run_dir, given.answer, threads)
    http = HttpServer(bound(options.listen), metrics.registry, threads, ready=looker.waits_for, alive=threads.trouble)
    ending.running()
    answers.start()
    http.start()
    looker.start()
    log.info("device plugin runs", config=options.config_file)
    ending.asked.wait()
    looker.stop()
    http.stop()
    answers.stop()
    ending.done()
    log.info("device plugin ends; pods keep their devices")


if __name__ == "__main__":
    sys.exit(main())
