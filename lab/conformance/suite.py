"""Runs upstream's e2e tests from the host that is no node, and keeps their results."""

import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from lab.conformance import applicable, results
from lab.conformance.results import Result, Verdict
from lab.kubernetes.build import Artifacts
from lab.kubernetes.cluster import Cluster
from lab.kubernetes.golang import Say

PROCESSES = 24


def run(cluster: Cluster, focus: str, names: Sequence[str], out: Path, say: Say) -> tuple[Result, ...]:
    """Run the tests that match *focus*; *names* are the required ones among them.

    Leaves ``results.tsv``, ``failures.txt`` and ``e2e.log`` in *out* and returns every test's end. No
    test is tried twice.
    """
    began = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("junit*.xml"):
        old.unlink()
    programs = cluster.artifacts.programs["kubectl"].parent
    environment = {**os.environ, "PATH": f"{programs}:{os.environ.get('PATH', '')}"}
    # the tests leave their kubectl's settings in the folder for temporary files
    with (out / "e2e.log").open("w") as log, tempfile.TemporaryDirectory() as folder:
        argv, env = _command(cluster, focus, out), {**environment, "TMPDIR": folder}
        subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=out, env=env, check=False)
    found = results.with_missing(results.read(out, focus), names)
    bad = results.bad(found, names)
    (out / "results.tsv").write_text("".join(f"{result.line()}\n" for result in found))
    (out / "failures.txt").write_text("".join(f"{r.name}\n  {r.verdict}: {r.reason.strip()}\n\n" for r in bad))
    counts = ", ".join(f"{sum(r.verdict is v for r in found)} {v}" for v in Verdict)
    say(f"{len(found)} tests in {time.monotonic() - began:.0f} s: {counts}; {out / 'results.tsv'}")
    return found


def upstream_names(artifacts: Artifacts) -> tuple[str, ...]:
    """The names of upstream's [sig-network] tests."""
    argv = [artifacts.program("e2e.test"), "--list-tests"]
    return applicable.listed(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)


def _command(cluster: Cluster, focus: str, out: Path) -> list[str]:
    artifacts = cluster.artifacts
    ginkgo = [
        artifacts.program("ginkgo"),
        "run",
        f"--procs={PROCESSES}",
        f"--focus={focus}",
        "--no-color",
        "--timeout=1h",
    ]
    tests = [
        f"--kubeconfig={cluster.kubectl.kubeconfig}",
        f"--kubectl-path={artifacts.program('kubectl')}",
        f"--report-dir={out}",
        f"--num-nodes={len(cluster.site.nodes)}",  # without it, tests that want two nodes skip
        "--provider=skeleton",
        "--node-os-distro=debian",
        "--allowed-not-ready-nodes=0",
        "--minStartupPods=2",
        "--prepull-images=false",
        "--dump-logs-on-failure=false",
        "--disable-log-dump=true",
    ]
    enter = ["nsenter", f"--net={cluster.site.outside.netns}"]
    return [*enter, *ginkgo, artifacts.program("e2e.test"), "--", *tests]
