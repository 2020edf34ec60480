"""The node's devices as pods' devices of all sorts have parts in them: by one request at a time, and who has which.

A VF is a device of the node too, above which another pod may have a macvlan; so those who know one sort each ask here.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from threading import Lock

from agent.pods.in_turn import InTurn


@dataclass(frozen=True, slots=True)
class Use:
    """A pod's part in a device of the node, from the moment that it is noted until all is as it was."""

    number: int  # of the node's device; 0: a record of a version that noted none
    name: str  # of it then
    is_alone: bool  # the pod has the device itself
    address: str  # what the pod's device is known by
    who: str  # as net1 of default/web


class Hardware:
    """The devices of one node."""

    def __init__(self) -> None:
        self.turn = InTurn()  # at one that a pod may have itself, by what it is of
        self.noting = Lock()  # held from a look at a device until what a pod is to have of it is noted
        self._tellers: list[Callable[[], Iterable[Use]]] = []

    def tell(self, uses: Callable[[], Iterable[Use]]) -> None:
        """Have who knows one sort of pods' devices tell of them."""
        self._tellers.append(uses)

    def trouble(self, number: int, name: str, *, is_alone: bool, address: str) -> str:
        """Why the device of a number, called so, is not for another pod's device, known by *address*; empty: it is.

        Who wants it *is_alone* shares it with nobody, and nobody shares it with whom has it so.
        """
        for tells in self._tellers:
            for use in tells():
                is_there = use.number == number if use.number else use.name == name
                if is_there and use.address != address and (is_alone or use.is_alone):
                    return f"{name} is {'' if use.is_alone else 'below '}{use.who}"
        return ""
