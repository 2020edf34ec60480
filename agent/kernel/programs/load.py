"""Objects into the kernel: one set of pinned maps under them all, the programs ready for their hooks.

Maps that the generation has are taken as they are, so a new program works on the state of the old; what is missing is
made and pinned. Conntrack GC is begun by hand, once per load. A program that few nodes have on a hook is loaded when it
is first asked for: the verifier takes most of an agent's start.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from agent.errors import AgentError
from agent.kernel.programs.hooks import ON_DEMAND
from agent.kernel.programs.sizes import constants
from agent.log import logger
from maps import abi, flow_arrays, libbpf
from maps.object import Object
from maps.pins import Generation

log = logger(__name__)

GC_START = "gc_start"
# a busy machine was seen to refuse the timer once; the kernel makes its memory without waiting for any
GC_TRIES, GC_PAUSE_S = 50, 0.02


@dataclass(frozen=True, slots=True)
class OfInterface:
    """An object that each interface loads for itself, onto the node's maps."""

    path: Path
    generation: Generation
    sizes: Mapping[str, int]
    constants: Mapping[str, int]

    @contextmanager
    def loaded(self, own: Mapping[str, int | bytes]) -> Iterator[Object]:
        """The object with an interface's *own* constants; what is not attached in the block is gone after it.

        Raises:
            AgentError: maps of the node are gone.
            MapsError: the kernel refused.
        """
        with Object.open(self.path) as opened:
            _prepare(opened, self.generation, self.sizes, {**self.constants, **own}, makes_maps=False)
            opened.load()
            yield opened


class Programs(dict[str, int]):
    """The descriptors of loaded programs by name; one of *later* that is asked for is loaded by *load* then."""

    def __init__(self, load: Callable[[Path, str], int]) -> None:
        """*load* takes the object's file and the program's name."""
        super().__init__()
        self._load = load
        self.later: dict[str, Path] = {}

    def __missing__(self, name: str) -> int:
        """Load it.

        Raises:
            KeyError: there is no such program.
            AgentError: maps of the node are gone.
            MapsError: the kernel refused.
        """
        self[name] = program = self._load(self.later[name], name)
        return program


class Loaded:
    """The programs of all objects by name, held open until their hooks hold them."""

    def __init__(
        self,
        objects: Mapping[str, Path],
        generation: Generation,
        sizes: Mapping[str, int],
        modes: Mapping[str, int] | None = None,
    ) -> None:
        """Load onto the maps of *generation* whatever is not on demand; *modes* are load-time constants beside sizes'.

        Raises:
            MapsError: the kernel refused; what was made so far and not pinned is gone again.
        """
        self.generation = generation
        self._objects: list[Object] = []
        self._late: list[int] = []  # descriptors of programs that were loaded on demand
        self._sizes = sizes
        self._constants = constants(sizes, os.cpu_count() or 1) | dict(modes or {})
        self.programs = Programs(self._load_one)
        try:
            for path in objects.values():
                self._load(path)
        except BaseException:
            self.close()
            raise
        log.debug("programs loaded", programs=len(self.programs), generation=generation.name)

    def of_interface(self, path: Path, sizes: Mapping[str, int]) -> OfInterface:
        """An object for each of many interfaces, with the constants and maps of these programs."""
        return OfInterface(path, self.generation, sizes, self._constants)

    def start_gc(self) -> None:
        """Have the kernel end old flows from now on, every second, without us.

        Raises:
            AgentError: the timer could not be set.
        """
        answers: list[int] = []
        while len(answers) < GC_TRIES:
            answers.append(libbpf.test_run(self.programs[GC_START], b"").retval)
            if not answers[-1]:
                return
            time.sleep(GC_PAUSE_S)
        raise AgentError(f"conntrack GC did not start: {GC_START} returned {answers[-1]:#x}")

    def close(self) -> None:
        """Let go; what is pinned, attached or armed stays."""
        for opened in self._objects:
            opened.close()
        for fd in self._late:
            os.close(fd)
        self._objects, self._late = [], []

    def _load(self, path: Path) -> None:
        opened = Object.open(path)
        self._objects.append(opened)
        for name in opened.programs().keys() & ON_DEMAND:
            opened.autoload(name, load=False)
            self.programs.later[name] = path
        _prepare(opened, self.generation, self._sizes, self._constants)
        opened.load()
        if abi.FLOW_SEEDS.name in opened.maps():
            flow_arrays.draw_seed(opened.map_fd(abi.FLOW_SEEDS.name))
        self.generation.keep(opened)
        self.programs |= {name: opened.program_fd(name) for name in opened.programs().keys() - ON_DEMAND}

    def _load_one(self, path: Path, program: str) -> int:
        with Object.open(path) as opened:
            for name in opened.programs():
                opened.autoload(name, load=name == program)
            _prepare(opened, self.generation, self._sizes, self._constants, makes_maps=False)
            opened.load()
            fd = os.dup(opened.program_fd(program))  # which needs none of the object's descriptors of maps
        self._late.append(fd)
        log.debug("program loaded", program=program, generation=self.generation.name)
        return fd


def _prepare(
    opened: Object,
    generation: Generation,
    sizes: Mapping[str, int],
    constants: Mapping[str, int | bytes],
    *,
    makes_maps: bool = True,
) -> None:
    """Have an object take the maps that there are, in their sizes, and its constants.

    Raises:
        AgentError: it would make maps that no other program uses, and is not to.
    """
    elements = flow_arrays.elements(sizes)
    for name in elements.keys() & set(opened.maps()):
        opened.resize(name, elements[name])
    lacking = set(opened.maps()).difference(generation.adopt(opened))
    if lacking and not makes_maps:
        names = ", ".join(sorted(lacking))
        raise AgentError(f"the pins of maps are gone from {generation.path}: {names}; start the agent again")
    opened.set_constants(constants)
