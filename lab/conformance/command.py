"""``lab conformance``: brings the cluster up, runs upstream's tests and our own on it, and takes it down."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

import click

from lab.conformance import applicable, document, evidence, known, policy_suite, results, runs, suite
from lab.conformance.origin import origin
from lab.conformance.report import Report
from lab.conformance.results import Result
from lab.conformance.runs import Run
from lab.kubernetes import build, cluster, lifecycle
from lab.kubernetes.cluster import Cluster
from lab.site import Options

CHECKOUT = Path(__file__).resolve().parent.parent.parent
OUT = CHECKOUT / "build" / "conformance"


@click.command(name="conformance")
@click.option("--all", "is_all", is_flag=True, help="Every test that can apply, in place of the runs' lists.")
@click.option("--focus", default="", help="A regular expression, instead of the names that the runs list.")
@click.option("--run", "names", type=click.Choice(runs.NAMES), multiple=True, help="Only this run; again for more.")
@click.option("--out", type=click.Path(path_type=Path), default=OUT, show_default=True, help="Where results go.")
@click.option("--document", "page", type=click.Path(path_type=Path), help="With --all: a page to put the results into.")
@click.option("--nodes", default=3, show_default=True, help="How many, unless a cluster is up or --all is given.")
@click.pass_obj
def command(  # noqa: PLR0913  each is a flag
    lab: str, *, is_all: bool, focus: str, names: Sequence[str], out: Path, page: Path | None, nodes: int
) -> int:
    """Run upstream's [sig-network] tests against the lab's Kubernetes, once per way of the packets.

    A cluster that is up is used and left up. Without --all, --focus and --run, tests/cluster runs too. The exit code is
    1 when a test failed, or one that a run lists did not pass; with --all, when one that is not known to fail did not
    pass.
    """
    if is_all and (focus or names):
        raise click.UsageError("--all has runs of its own: leave out --focus and --run")
    if page and not is_all:
        raise click.UsageError("--document wants the results of --all")
    is_good = _all(lab, out / "all", page) if is_all else _listed(lab, focus, names, out, nodes)
    return 0 if is_good else 1


def _listed(lab: str, focus: str, names: Sequence[str], out: Path, nodes: int) -> bool:
    is_good, are_own_due = True, not (focus or names)  # on the first cluster, once
    for subnets, together in groupby(runs.chosen(names), key=lambda run: run.subnets):
        with lifecycle.running(lab, _options(nodes, subnets), click.echo) as made:
            if are_own_due:
                is_good &= own_tests(lab, out)
                are_own_due = False
            for run in together:
                required = () if focus else run.required()
                found = one_pass(made, run, focus or results.focus(required), required, out)
                is_good &= not results.bad(found, required)
            cluster.configure(made, made.site.options, click.echo)
    return is_good


def _all(lab: str, out: Path, page: Path | None) -> bool:
    of, began = origin(CHECKOUT, datetime.now(UTC)), time.monotonic()
    failures = known.read()
    selection = applicable.select(suite.upstream_names(build.artifacts(click.echo)))
    found: dict[str, tuple[Result, ...]] = {}
    for machines, passes in groupby(applicable.passes(selection.applicable), key=lambda each: each.machines):
        with lifecycle.running(lab, _options(*machines), click.echo) as made:
            for each in passes:
                found[each.name] = one_pass(made, each.run, results.focus(each.names), each.names, out)
            if policy_suite.NAME not in found:
                configured = cluster.configure(made, Run(policy_suite.NAME, ()).options(made.site.options), click.echo)
                found[policy_suite.NAME] = policy_suite.run(configured, out / policy_suite.NAME, click.echo)
            cluster.configure(made, made.site.options, click.echo)
    compared = known.compare(found, failures)
    report = Report(of, selection, found, time.monotonic() - began, compared)
    (out / "results.tsv").write_text(report.table())
    (out / "summary.md").write_text(report.summary())
    if page:
        page.write_text(document.updated(page.read_text(), report))
    click.echo(report.summary())
    return report.is_good


def one_pass(made: Cluster, run: Run, focus: str, required: Sequence[str], out: Path) -> tuple[Result, ...]:
    """How each of upstream's tests ended in one run; those that were bad are printed line by line."""
    click.echo(f"{run.name}:")
    configured = cluster.configure(made, run.options(made.site.options), click.echo)
    found = suite.run(configured, focus, required, (out / run.name).resolve(), click.echo)
    bad = results.bad(found, required)
    for result in bad:
        click.echo(result.line())
    if bad:
        click.echo(f"what the nodes know: {evidence.gather(made.site.nodes, out / run.name / 'nodes')}")
    return found


def _options(nodes: int, subnets: int) -> Options:
    return Options(nodes=nodes, kubernetes=True, subnets=subnets)


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
