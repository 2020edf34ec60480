"""What a changed annotation means for a pod that runs: which of its further interfaces stay, go and come. Pure.

An element that asks for the same as before keeps its interface wherever it stands in the list, so that one that is
taken out of the middle renames no other.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from agent.compile.network import asked_text
from agent.model.name import ObjectName
from agent.model.network import NetworkSelection


@dataclass(frozen=True, slots=True)
class Present:
    """An interface that the pod has; *asked* is empty where an earlier agent did not note what was asked for."""

    interface: str
    network: ObjectName
    asked: str


@dataclass(frozen=True, slots=True)
class NetworkChange:
    """What is to be done. *wanted* are all elements, each with the name of its interface."""

    wanted: tuple[NetworkSelection, ...]
    gone: tuple[str, ...] = ()  # in the order in which they are unmade
    new: tuple[NetworkSelection, ...] = ()


def network_change(wanted: Sequence[NetworkSelection], present: Iterable[Present]) -> NetworkChange:
    """What makes the interfaces that are *present*, oldest first, those that are *wanted*."""
    left = {one.interface: one for one in present}
    names: dict[int, str] = {}
    kept: set[int] = set()

    def keep(index: int, name: str) -> None:
        one = left.get(name)
        if one is not None and index not in kept and _is_same(one, wanted[index]):
            del left[name]
            names[index] = name
            kept.add(index)

    for index, one in enumerate(wanted):  # by its own name, or that of its place
        keep(index, one.interface or place_name(index))
    for index, one in enumerate(wanted):
        for name in () if one.interface else tuple(left):
            keep(index, name)
    for index, one in enumerate(wanted):
        if index not in kept and one.interface:
            names[index] = one.interface
    for index in range(len(wanted)):
        if index not in names:
            names[index] = _free(index, names.values(), len(wanted))
    named = tuple(replace(one, interface=names[index]) for index, one in enumerate(wanted))
    return NetworkChange(named, tuple(reversed(left)), tuple(one for i, one in enumerate(named) if i not in kept))


def place_name(index: int) -> str:
    """The name of an interface that is asked for without one, by its place in the list from 0 on."""
    return f"net{index + 1}"


def _free(index: int, taken: Iterable[str], count: int) -> str:
    """The name of the place, or the first that no other of so many elements has."""
    used = frozenset(taken)
    return next(name for at in (index, *range(2 * count)) if (name := place_name(at)) not in used)


def _is_same(one: Present, wanted: NetworkSelection) -> bool:
    return one.asked == asked_text(wanted) if one.asked else one.network == wanted.name
