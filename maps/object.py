"""A compiled BPF object on its way into the kernel: opened, adjusted, loaded.

libbpf pins and reuses no maps by itself: :mod:`maps.pins` decides which map an object gets.
"""

import errno
import os
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from maps import btf, verified
from maps._libbpf import ffi, lib
from maps.calls import check, last_log
from maps.errors import KernelRefused, NotPermitted, VerifierRejected

_RODATA = ".rodata"
_LOG = re.compile(r"prog '(?P<name>[^']*)': -- BEGIN PROG LOAD LOG --\n(?P<log>.*?)-- END PROG LOAD LOG --", re.DOTALL)
_STATISTICS = re.compile(r"^(processed \d+ insns|verification time|stack depth|max_states|peak_states|mark_read)")
_LOG_BYTES = 1 << 20  # of statistics, a few lines; but until the end there also stands what was said on the way
_LOG_STATISTICS = 4  # BPF_LOG_STATS
_SHOWN_LINES = 12  # enough for the complaint, the instructions before it and their source


class Object:
    """One ``.bpf.o``. What is adjusted counts until :meth:`load`; file descriptors live until :meth:`close`."""

    def __init__(self, handle: Any, path: Path) -> None:
        self._handle = handle
        self._path = path
        self._loaded = False
        self._logs: dict[str, Any] = {}  # of the verifier, by program
        for found in self._maps():
            check(lib.bpf_map__set_pin_path(found, ffi.NULL), f"prepare the maps of {path}")

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read an object file.

        Raises:
            KernelRefused: it is missing, or no BPF object.
        """
        last_log()
        handle = lib.bpf_object__open_file(os.fsencode(path), ffi.NULL)
        if handle == ffi.NULL:
            check(-ffi.errno, f"open the object {path}")
        return cls(handle, path)

    def maps(self) -> tuple[str, ...]:
        """The names of the declared maps, without those that hold sections."""
        return tuple(_name(found) for found in self._maps() if not lib.bpf_map__is_internal(found))

    def programs(self) -> Mapping[str, str]:
        """The programs' names and their sections, ``{"pod_ingress": "tc"}``."""
        found, programs = ffi.NULL, {}
        while (found := lib.bpf_object__next_program(self._handle, found)) != ffi.NULL:
            section = ffi.string(lib.bpf_program__section_name(found)).decode()
            programs[ffi.string(lib.bpf_program__name(found)).decode()] = section
        return programs

    def max_entries(self, map_name: str) -> int:
        """The size a map has or will get."""
        return int(lib.bpf_map__max_entries(self._map(map_name)))

    def resize(self, map_name: str, max_entries: int) -> None:
        """Give a map another size than the source's; before :meth:`reuse`, if both."""
        result = lib.bpf_map__set_max_entries(self._map(map_name), max_entries)
        check(result, f"resize the map {map_name} of {self._path}")

    def leave_out(self, map_name: str) -> None:
        """Make no map of one that no program refers to."""
        result = lib.bpf_map__set_autocreate(self._map(map_name), 0)
        check(result, f"leave out the map {map_name} of {self._path}")

    def reuse(self, map_name: str, fd: int) -> None:
        """Take an existing map instead of a new one. *fd* stays the caller's."""
        check(lib.bpf_map__reuse_fd(self._map(map_name), fd), f"reuse the map {map_name} in {self._path}")

    def set_constants(self, values: Mapping[str, int | bytes]) -> frozenset[str]:
        """Set the load-time constants that this object has; returns which those are.

        Raises:
            OverflowError: a number is too large for its constant.
            ValueError: bytes of another length.
        """
        if self._loaded:
            raise KernelRefused(f"set constants of {self._path} after it was loaded", errno.EBUSY)
        found = lib.bpf_object__find_map_by_name(self._handle, _RODATA.encode())
        if found == ffi.NULL:
            return frozenset()
        size = ffi.new("size_t *")
        start = lib.bpf_map__initial_value(found, size)
        memory = ffi.buffer(start, size[0])
        for name in (present := values.keys() & self._constants.keys()):
            offset, length, signed = self._constants[name]
            memory[offset : offset + length] = _bytes(name, values[name], length, signed=signed)
        return frozenset(present)

    def autoload(self, program: str, *, load: bool) -> None:
        """Whether :meth:`load` loads a program; by default all are."""
        result = lib.bpf_program__set_autoload(self._program(program), load)
        check(result, f"choose the programs of {self._path}")

    def measure(self) -> None:
        """Let the kernel say what each program costs the verifier, for :meth:`cost`; before :meth:`load`."""
        for name in self.programs():
            self._logs[name] = log = ffi.new("char[]", _LOG_BYTES)
            lib.bpf_program__set_log_level(self._program(name), _LOG_STATISTICS)
            lib.bpf_program__set_log_buf(self._program(name), log, _LOG_BYTES)

    def cost(self, program: str) -> verified.Cost:
        """What a loaded program cost the verifier; :meth:`measure` was called before :meth:`load`."""
        found = self._program(program)
        count = lib.bpf_program__insn_cnt(found)
        code = bytes(ffi.buffer(ffi.cast("char *", lib.bpf_program__insns(found)), count * verified.INSTRUCTION))
        return verified.cost(ffi.string(self._logs[program]).decode(), code)

    def load(self) -> None:
        """Make the maps that are not reused, and load the programs.

        Raises:
            VerifierRejected: the verifier refused one; nothing was loaded.
            NotPermitted: a capability is missing.
            KernelRefused: anything else.
        """
        last_log()
        self._loaded = True
        result = lib.bpf_object__load(self._handle)
        if result >= 0:
            return
        log = last_log()
        refused = rejection(log)
        if refused is not None:
            raise refused
        detail = "; ".join(line.removeprefix("libbpf: ") for line in log.splitlines()[:3])
        doing = f"load the programs of {self._path}"
        if result == -errno.EPERM:
            raise NotPermitted(f"{doing} ({detail})")
        raise KernelRefused(doing, -result, detail)

    def map_fd(self, name: str) -> int:
        """A loaded map's file descriptor; it stays the object's."""
        return check(lib.bpf_map__fd(self._map(name)), f"use the map {name} of {self._path} before load")

    def program_fd(self, name: str) -> int:
        """A loaded program's file descriptor; it stays the object's."""
        return check(lib.bpf_program__fd(self._program(name)), f"use the program {name} of {self._path} before load")

    def close(self) -> None:
        """Close every descriptor of what is neither pinned, attached nor duplicated."""
        if self._handle != ffi.NULL:
            lib.bpf_object__close(self._handle)
            self._handle = ffi.NULL

    def __enter__(self) -> Self:
        """The object, closed at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    @cached_property
    def _constants(self) -> dict[str, tuple[int, int, bool]]:
        """Where each constant lies in .rodata: offset, bytes, and whether it is signed."""
        size = ffi.new("uint32_t *")
        raw = lib.btf__raw_data(lib.bpf_object__btf(self._handle), size)
        types = btf.parse(bytes(ffi.buffer(raw, size[0])))
        section = types.section(_RODATA)
        offsets = {}
        for type_id, offset, length in section.variables if section else ():
            variable = types.variable(type_id)
            shape = types.resolved(variable.type_id)
            offsets[variable.name] = (offset, length, isinstance(shape, btf.Int) and shape.signed)
        return offsets

    def _maps(self) -> Iterator[Any]:
        """Every map, as libbpf knows it."""
        found = ffi.NULL
        while (found := lib.bpf_object__next_map(self._handle, found)) != ffi.NULL:
            yield found

    def _map(self, name: str) -> Any:
        """A map, as libbpf knows it."""
        found = lib.bpf_object__find_map_by_name(self._handle, name.encode())
        if found == ffi.NULL:
            raise KeyError(f"{self._path} has no map {name}")
        return found

    def _program(self, name: str) -> Any:
        """A program, as libbpf knows it."""
        found = lib.bpf_object__find_program_by_name(self._handle, name.encode())
        if found == ffi.NULL:
            raise KeyError(f"{self._path} has no program {name}")
        return found


def _name(found: Any) -> str:
    """A map's name."""
    return str(ffi.string(lib.bpf_map__name(found)).decode())


def _bytes(name: str, value: int | bytes, length: int, *, signed: bool) -> bytes:
    """A constant's value in memory."""
    if isinstance(value, int):
        order: Literal["little", "big"] = "little" if sys.byteorder == "little" else "big"
        return value.to_bytes(length, order, signed=signed)
    if len(value) != length:
        raise ValueError(f"the constant {name} has {length} bytes, not {len(value)}")
    return value


def rejection(log: str) -> VerifierRejected | None:
    """The verifier's verdict in libbpf's log: its complaint, with the source and instructions before it.

    None where the log has nothing of it: then it was not asked, or not let finish (EAGAIN: signals came in too often).
    """
    logs = list(_LOG.finditer(log))
    if not logs:
        return None
    found = logs[-1]
    lines = [line for line in found["log"].splitlines() if line and not _STATISTICS.match(line)]
    return VerifierRejected(found["name"], tuple(lines[-_SHOWN_LINES:])) if lines else None
