"""Bring the real Kubernetes of a lab up, find the one that is up, or keep one for as long as a block runs."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from lab import site
from lab.errors import LabError
from lab.kubernetes import build, cluster
from lab.kubernetes.cluster import Cluster
from lab.kubernetes.golang import Say
from lab.site import Options


def up(name: str, options: Options, say: Say) -> Cluster:
    """Build what is missing, make the machines, and start Kubernetes on them.

    Raises:
        LabError: something did not come up; ``site.remove`` takes away what there is.
    """
    artifacts = build.artifacts(say)
    return cluster.up(site.create(name, options), artifacts, say)


def find(name: str) -> Cluster:
    """The Kubernetes of the lab that is up.

    Raises:
        LabError: there is no lab, or it is a standalone one.
    """
    found = site.find(name)
    if not found.options.kubernetes:
        raise LabError(f"the lab {name} has no Kubernetes: python -m lab down, then up --kubernetes")
    return cluster.cluster(found, build.artifacts(_aside))


@contextmanager
def running(name: str, options: Options, say: Say) -> Iterator[Cluster]:
    """A cluster for as long as the block runs: the one that is up, else one that is taken down again."""
    try:
        existing = site.find(name)
    except LabError:
        existing = None
    if existing is not None:
        yield find(name)
        return
    try:
        yield up(name, options, say)
    finally:
        site.remove(name)


def _aside(text: str) -> None:
    """Not to standard output, which belongs to kubectl."""
    print(text, file=sys.stderr)
