"""Runs the conformance suite of sigs.k8s.io/network-policy-api, about ClusterNetworkPolicy, as a pass of its own.

What asks by SCTP is not run: a test about nothing else is skipped, and known to be; of another the reason says how many
of its requests were left out.
"""

import re
import subprocess
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from lab.conformance.results import Result, Verdict
from lab.kubernetes import build, images
from lab.kubernetes.cluster import Cluster
from lab.kubernetes.golang import Say

NAME = "policy-api"
_TEST = "TestPolicyAPI"
_RUNNING = re.compile(r"=== (?:RUN|CONT|NAME)  ?\s*(\S+)")
_ENDED = re.compile(rf"\s*--- (PASS|FAIL|SKIP): ({_TEST}\S*) \((\d+\.\d+)s\)")
_VERDICTS = {"PASS": Verdict.PASS, "FAIL": Verdict.FAIL, "SKIP": Verdict.SKIP}


def run(cluster: Cluster, out: Path, say: Say) -> tuple[Result, ...]:
    """How each of the suite's tests ended; leaves its output in *out*."""
    out.mkdir(parents=True, exist_ok=True)
    program = build.policy_suite(say)
    log = out / "suite.log"
    config = f"-kubeconfig={cluster.kubectl.kubeconfig}"
    argv = [str(program), "-test.v", "-test.timeout=30m", config, f"-image={images.AGNHOST}"]
    with log.open("w") as file:
        enter = ["nsenter", f"--net={cluster.site.outside.netns}"]
        subprocess.run([*enter, *argv], stdin=subprocess.DEVNULL, stdout=file, stderr=file, check=False)
    found = read(log.read_text())
    (out / "results.tsv").write_text("".join(f"{result.line()}\n" for result in found))
    counts = ", ".join(f"{sum(result.verdict is verdict for result in found)} {verdict}" for verdict in Verdict)
    say(f"{NAME}: {len(found)} tests: {counts}; {out / 'results.tsv'}")
    return found


def read(output: str) -> tuple[Result, ...]:
    """The innermost tests in what ``-test.v`` prints; one that did not even begin has failed as a whole."""
    ends: dict[str, Result] = {}
    said: dict[str, list[str]] = {}
    unasked: Counter[str] = Counter()
    running = _TEST
    for line in output.splitlines():
        if match := _RUNNING.match(line):
            running = match[1]
        elif match := _ENDED.match(line):
            ends[match[2]] = Result(_name(match[2]), _VERDICTS[match[1]], float(match[3]))
        elif "not run: SCTP" in line:
            unasked[running] += 1
        else:
            said.setdefault(running, []).append(line.strip())
    if _TEST not in ends:
        return (Result(_TEST, Verdict.FAIL, reason=f"it did not end: {output[-500:]}"),)
    return tuple(
        replace(end, reason=_reason(end, said.get(test, ()), unasked[test]))
        for test, end in ends.items()
        if not any(other.startswith(f"{test}/") for other in ends)
        or (end.verdict is Verdict.FAIL and not _has_failed_part(test, ends))
    )


def _has_failed_part(test: str, ends: dict[str, Result]) -> bool:
    return any(end.verdict is Verdict.FAIL for other, end in ends.items() if other.startswith(f"{test}/"))


def _reason(end: Result, said: Iterable[str], unasked: int) -> str:
    match end.verdict:
        case Verdict.PASS:
            return f"{unasked} requests by SCTP were not made" if unasked else ""
        case Verdict.SKIP:
            return "SCTP: the kernel may have none"
        case _:
            return "\n".join(line for line in said if "FAILED" in line or "Error" in line or "xpected" in line)


def _name(test: str) -> str:
    """``TestPolicyAPI/A/Should_do_b`` as ``A: Should do b``."""
    return ": ".join(test.removeprefix(f"{_TEST}/").replace("_", " ").split("/", 1))
