"""Pods come and go while a long write of the maps pauses: they are served at once, and nothing of theirs is lost."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import count, islice

import pytest

from agent.compile.desired import Desired
from agent.compile.records import Owner, OwnerKind, Records
from agent.model.local import Local
from agent.reconcile.plans import contents
from agent.reconcile.tracker import Tracker
from tests.agent.compile.objects import HERE, attachment, cluster
from tests.agent.reconcile.kernels import MemoryKernel, brought, started
from tests.agent.reconcile.test_round import NEW, OLD, held


def test_a_pod_that_comes_goes_before_the_next_piece_of_a_long_write() -> None:
    kernel = MemoryKernel()
    rounds, pod = started(kernel), attachment()
    pieces = rounds.round(NEW)
    while not kernel.held("backends"):
        next(pieces)
    rounds.attach(pod)
    rounds.serve([pod.key])
    assert len(kernel.held("pod_netns")) == 1
    assert not kernel.held("services")
    for _ in pieces:
        pass
    assert len(kernel.held("pod_netns")) == 1
    brought(kernel, replace(NEW, local=replace(NEW.local, attachments=(pod,))), rounds)
    assert contents(rounds.desired.owners.values()) == held(kernel)


@pytest.mark.parametrize("was", ["there by another agent", "gone but for the journal", "there by this agent"])
def test_a_pod_that_leaves_within_a_long_write_leaves_nothing(was: str) -> None:
    for pause in count():
        kernel, pod = MemoryKernel(), attachment()
        if was != "gone but for the journal":
            brought(kernel, replace(OLD, local=replace(OLD.local, attachments=(pod,))))
        rounds = started(kernel, attachments=(pod,))
        if was == "there by this agent":
            brought(kernel, OLD, rounds)
        pieces = rounds.round(NEW)
        is_over = len([*islice(pieces, pause)]) < pause
        rounds.detach(pod)
        rounds.serve([pod.key])
        for _ in pieces:
            pass
        assert not kernel.held("pod_netns"), pause
        assert contents(rounds.desired.owners.values()) == held(kernel), pause
        if is_over:
            break


@pytest.mark.parametrize("pause", range(8))
def test_the_count_of_entries_stays_right_as_a_pod_leaves_within_long_writes(pause: int) -> None:
    pod = attachment()
    owner = Owner(OwnerKind.ATTACHMENT, pod.key)
    whole = brought(MemoryKernel(), cluster(local=Local(attachments=(pod,)))).desired.owners[owner]
    part = Records.of({name: packed for name, packed in whole.items() if name not in {"endpoints", "pod_netns"}})
    needed = dict(whole.counts())
    kernel = MemoryKernel(endpoints=needed["endpoints"], pod_netns=needed["pod_netns"])
    tracker = Tracker(kernel.tables, Owner(OwnerKind.NODE, HERE))

    def want(*records: Records) -> Iterator[int]:
        owners = {owner: records[0]} if records else {}
        tracker.want(Desired(owners=owners, changed=frozenset({owner}), synced=True))
        return tracker.write()

    for _ in range(3):
        for _ in want(part):
            pass
        pieces = want(whole)
        for _ in islice(pieces, pause):
            pass
        want()
        tracker.write_now({owner})
        for _ in pieces:
            pass
        assert not kernel.held("endpoints")
    for _ in want(whole):  # for which there is room
        pass
    assert len(kernel.held("endpoints")) == needed["endpoints"]
