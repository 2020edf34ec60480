"""sluiceway-agent: runs the node's dataplane, shows options, removes what it left, or imports another's."""

import os
import sys
from contextlib import suppress
from pathlib import Path

from agent.ending import Ending
from agent.errors import AgentError
from agent.log import configure, logger
from agent.options.origins import Command, describe, load
from maps import errors as maps_errors

log = logger(__name__)

# what `kubectl describe` shows of a container that ended; only pods have it. Source: Kubernetes' API, Container
TERMINATION_LOG = Path("/dev/termination-log")
KERNEL_LACKS = 3  # as agent.errors.KernelTooOld


def main() -> int:
    """The command that the arguments give; the exit code says what went wrong (agent/errors.py)."""
    try:
        if sys.argv[1:2] == ["import"]:
            from agent.migrate.command import main as migrate  # noqa: PLC0415  none of the others needs it

            return migrate(sys.argv[2:])
        command, options, origins = load(sys.argv[1:], os.environ)
        if command is Command.CONFIG:
            sys.stdout.write(describe(options, origins))
            return 0
        configure(options.log_level, options.log_format)
        if command is Command.CLEANUP:
            from agent.clean import clean  # noqa: PLC0415  `config` needs none of it, and pyroute2 costs 0.2 s

            clean(options)
        else:
            ending = Ending()
            from agent.run import run  # noqa: PLC0415  as above

            run(options, os.environ, ending)
    except AgentError as error:
        return _fail(error, error.exit_code)
    except (maps_errors.NotPermitted, maps_errors.KernelTooOld) as error:
        return _fail(error, KERNEL_LACKS)
    except (maps_errors.MapsError, OSError) as error:
        return _fail(error, 1)
    return 0


def _fail(error: Exception, code: int) -> int:
    sys.stderr.write(f"sluiceway-agent: {error}\n")
    if TERMINATION_LOG.exists():
        with suppress(OSError):
            TERMINATION_LOG.write_text(f"{error}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
