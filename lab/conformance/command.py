"""``lab conformance``: brings the cluster up, has upstream's tests and our own judge it, and takes it down."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from lab.conformance import results, runs, suite
from lab.conformance.results import Result
from lab.conformance.runs import Run
from lab.kubernetes import cluster, lifecycle
from lab.kubernetes.cluster import Cluster
from lab.kubernetes.golang import Say
from lab.site import Options

CHECKOUT = Path(__file__).resolve().parent.parent.parent
OUT = CHECKOUT / "build" / "conformance"


@click.command(name="conformance")
@click.option("--focus", default="", help="A regular expression, instead of the names that the runs list.")
@click.option("--run", "names", type=click.Choice(runs.NAMES), multiple=True, help="Only this run; again for more.")
@click.option("--out", type=click.Path(path_type=Path), default=OUT, show_default=True, help="Where results go.")
@click.option("--nodes", default=3, show_default=True, help="How many nodes, unless a cluster is up.")
@click.pass_obj
def command(lab: str, focus: str, names: Sequence[str], out: Path, nodes: int) -> int:
    """Run upstream's [sig-network] tests against the lab's Kubernetes, once per way of the packets.

    A cluster that is up is used and left up. Without --focus and --run, tests/cluster runs too. The exit code is 1 when
    a test failed, or one that a run lists did not pass.
    """
    options = Options(nodes=nodes, kubernetes=True, subnets=runs.SUBNETS)
    with lifecycle.running(lab, options, click.echo) as made:
        is_good = bool(focus or names) or own_tests(lab, out)
        for run in runs.chosen(names):
            configured = cluster.configure(made, run.options(made.site.options))
            is_good &= not judge(configured, run, focus, out / run.name, click.echo)
        cluster.configure(made, made.site.options)
    return 0 if is_good else 1


def judge(made: Cluster, run: Run, focus: str, out: Path, say: Say) -> tuple[Result, ...]:
    """One run of upstream's tests; what was bad is said line by line and returned."""
    names = () if focus else run.required()
    say(f"{run.name}:")
    bad = suite.run(made, focus or results.focus(names), names, out.resolve(), say)
    for result in bad:
        say(result.line())
    return bad


def own_tests(lab: str, out: Path) -> bool:
    """Run ``tests/cluster`` on the cluster that is up; whether they passed."""
    out.mkdir(parents=True, exist_ok=True)
    argv = [sys.executable, "-m", "pytest", "tests/cluster", f"--junitxml={out / 'cluster.xml'}"]
    environment = {**os.environ, "SLUICEWAY_REQUIRE": "kernel,netns,cluster", "SLUICEWAY_LAB": lab}
    return subprocess.run(argv, cwd=CHECKOUT, env=environment, check=False).returncode == 0


def main(lab: str, arguments: Sequence[str]) -> int:
    """Run the command with these arguments, on the lab of this name.

    Raises:
        LabError: the cluster did not come up.
        click.ClickException: the arguments are no good.
    """
    code = command.main(list(arguments), prog_name="lab conformance", standalone_mode=False, obj=lab)
    return int(code or 0)
