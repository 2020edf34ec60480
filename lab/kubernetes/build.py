"""What the cluster needs on the disk before it starts; made once and kept in the user's cache.

``python -m lab.kubernetes.build`` makes it ahead of time: six minutes on two cores when nothing is there. With
``programs`` behind it the programs alone, which is most of it and makes no namespaces that a test could wonder about;
with ``cni`` what drives CNI plugins in tests, and with ``helm`` Helm, and no more.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.kubernetes import agent_image, golang, images, policy_api
from lab.kubernetes.golang import BuildError, Say


@dataclass(frozen=True, slots=True)
class Artifacts:
    """The cluster's programs by name, the archive of all images, and what ClusterNetworkPolicy is, as a manifest."""

    programs: Mapping[str, Path]
    images: Path
    policy_definition: Path

    def program(self, name: str) -> str:
        """The path of a program, as a command line wants it."""
        return str(self.programs[name])


def artifacts(say: Say) -> Artifacts:
    """Build what is missing and return where everything lies.

    Raises:
        BuildError: a program or an image could not be made.
    """
    cache, made = cache_folder(os.environ), programs(say)
    return Artifacts(made, images.archive(cache, made, say), policy_api.definition(cache, say))


def programs(say: Say) -> Mapping[str, Path]:
    """The cluster's programs by their names, built if they are missing.

    Raises:
        BuildError: one could not be made.
    """
    return golang.programs(cache_folder(os.environ), say)


def policy_suite(say: Say) -> Path:
    """The conformance suite of the policy API as a program, built if it is missing.

    Raises:
        BuildError: it could not be made.
    """
    (made,) = golang.programs(cache_folder(os.environ), say, (golang.POLICY_SUITE,)).values()
    return made


def helm(say: Say) -> Path:
    """Helm, built if it is missing.

    Raises:
        BuildError: it could not be made.
    """
    (made,) = golang.programs(cache_folder(os.environ), say, (golang.HELM,)).values()
    return made


def kube_proxy(say: Say) -> Path:
    """kube-proxy, built if it is missing.

    Raises:
        BuildError: it could not be made.
    """
    (made,) = golang.programs(cache_folder(os.environ), say, (golang.KUBE_PROXY,)).values()
    return made


def cni_programs(say: Say) -> Mapping[str, Path]:
    """The programs that drive CNI plugins in tests, by their names, built if they are missing.

    Raises:
        BuildError: one could not be made.
    """
    return golang.programs(cache_folder(os.environ), say, golang.CNI_PROGRAMS)


def cache_folder(environment: Mapping[str, str]) -> Path:
    """Outside the checkout, so that a fresh clone finds what an older one built."""
    if own := environment.get("SLUICEWAY_CACHE"):
        return Path(own) / "kubernetes"
    shared = environment.get("XDG_CACHE_HOME") or Path(environment.get("HOME", "/root"), ".cache")
    return Path(shared, "sluiceway", "kubernetes")


def main() -> int:
    """Build everything, or the part that is named, and say where it is."""
    try:
        match sys.argv[1:]:
            case ["cni"]:
                made = [*cni_programs(print).values()]
            case ["programs"]:
                made = [
                    *programs(print).values(),
                    helm(print),
                    kube_proxy(print),
                    agent_image.image(cache_folder(os.environ), print).archive,
                ]
            case ["helm"]:
                made = [helm(print)]
            case _:
                made = [artifacts(print).images]
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    print(*made, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
