"""The command line. 0: all is well; 1: something is not, or cannot be asked; 2: a wrong command line; or as dpctl."""

import argparse
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from kubectl_sluiceway import report, status
from kubectl_sluiceway.agents import CONTAINER, agent_of, agents
from kubectl_sluiceway.completion import COMMANDS, candidates
from kubectl_sluiceway.kubectl import Kubectl, PluginError
from kubectl_sluiceway.table import shown

UNITS = {"s": 1, "m": 60, "h": 3600}
_DURATION = re.compile(r"(\d+)([smh]?)")
PROBE_S = 60.0  # for the pods of a look that waits for nothing else


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the arguments say; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["__complete"]:
        print("\n".join(candidates(words[1:])))
        return 0
    options = _parser().parse_args(words)
    kubectl = Kubectl(
        tuple(f"--{name}={value}" for name in ("context", "kubeconfig") if (value := getattr(options, name)))
    )
    for number in (signal.SIGTERM, signal.SIGHUP):  # what was made is taken away, as after SIGINT
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            signal.signal(number, signal.default_int_handler)
    try:
        return int(options.run(kubectl, options))
    except (PluginError, OSError) as error:
        print(f"kubectl sluiceway: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("kubectl sluiceway: stopped", file=sys.stderr)
    return 1


def _status(kubectl: Kubectl, options: argparse.Namespace) -> int:
    probes = not options.no_probe
    if options.wait:
        rows = status.wait(kubectl, options.namespace, probes=probes, timeout_s=options.timeout)
    else:
        rows = status.look(kubectl, options.namespace, probes=probes, timeout_s=PROBE_S)
    print(shown(rows, options.output))
    if not rows:
        print("kubectl sluiceway: the cluster has no node", file=sys.stderr)
    return 0 if status.is_well(rows) else 1


def _dpctl(kubectl: Kubectl, options: argparse.Namespace) -> int:
    agent = agent_of(kubectl, agents(kubectl), options.node, options.pod, options.namespace)
    terminal = ("--stdin", "--tty") if sys.stdin.isatty() and sys.stdout.isatty() else ()
    words = ("exec", *terminal, "--namespace", agent.namespace, agent.name, "-c", CONTAINER, "--", "dpctl")
    return subprocess.run(kubectl.command(*words, *options.arguments), check=False).returncode


def _report(kubectl: Kubectl, options: argparse.Namespace) -> int:
    path = options.output or Path(time.strftime("sluiceway-report-%Y%m%d-%H%M%S.tar.gz"))
    missing = report.write(kubectl, options.namespace, path)
    for line in missing:
        print(f"kubectl sluiceway: not in the report: {line}", file=sys.stderr)
    print(path)
    return 1 if missing else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("kubectl sluiceway", description="The agents of a cluster, by kubectl.")
    parser.add_argument("--context", default="", help="kubectl's")
    parser.add_argument("--kubeconfig", default="", help="kubectl's")
    parser.add_argument(
        "-n", "--namespace", default="", help="of the agents; of dpctl's --pod  [default: any; default]"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    found = commands.add_parser("status", help=COMMANDS["status"])
    found.add_argument("--wait", action="store_true", help="until all is well")
    found.add_argument("--timeout", type=seconds, default=300.0, metavar="DURATION", help="of --wait  [default: 5m]")
    found.add_argument("--no-probe", action="store_true", help="make no pods, and send no packets")
    found.add_argument("-o", "--output", choices=("table", "json"), default="table")
    found.set_defaults(run=_status)

    found = commands.add_parser("dpctl", help=COMMANDS["dpctl"])
    where = found.add_mutually_exclusive_group()
    where.add_argument("--node", default="", help="whose agent is asked")
    where.add_argument("--pod", default="", help="of whose node the agent is asked: NAME, or NAMESPACE/NAME")
    found.add_argument("arguments", nargs=argparse.REMAINDER, metavar="ARGUMENT", help="dpctl's")
    found.set_defaults(run=_dpctl)

    found = commands.add_parser("report", help=COMMANDS["report"])
    found.add_argument("-o", "--output", type=Path, help="the file  [default: sluiceway-report-TIME.tar.gz]")
    found.set_defaults(run=_report)
    return parser


def seconds(given: str) -> float:
    """A duration as kubectl writes it: 90, 90s, 5m, 1h.

    Raises:
        ArgumentTypeError: it is none.
    """
    found = _DURATION.fullmatch(given)
    if found is None:
        raise argparse.ArgumentTypeError(f"{given!r} is no duration; write 90s or 5m")
    return float(int(found[1]) * UNITS[found[2] or "s"])


if __name__ == "__main__":
    sys.exit(main())
