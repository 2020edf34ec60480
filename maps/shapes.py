"""What goes from C to Python, as values: types, maps and constants, each under its C name."""

from dataclasses import dataclass, field

from maps.declared import Declared


@dataclass(frozen=True, slots=True)
class Scalar:
    """A type without parts: an integer, a typedef with a meaning of its own, or bytes."""

    name: str  # the C name: "__u32", "ip_addr", "char[12]"
    size: int
    signed: bool = False
    boolean: bool = False


@dataclass(frozen=True, slots=True)
class Enumerated:
    """A named enum, by its name in :attr:`Exports.enums`."""

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Record:
    """A named struct, by its name in :attr:`Exports.records`."""

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Repeated:
    """An array."""

    element: "Shape"
    length: int

    @property
    def size(self) -> int:
        """Bytes of the whole array."""
        return self.element.size * self.length

    @property
    def name(self) -> str:
        """The C name."""
        return f"{self.element.name}[{self.length}]"


Shape = Scalar | Enumerated | Record | Repeated


@dataclass(frozen=True, slots=True)
class Field:
    """A member of a struct; a pad has no shape that matters."""

    name: str
    shape: Shape
    doc: str
    pad: bool


@dataclass(frozen=True, slots=True)
class Map:
    """A map definition."""

    name: str
    kind: int
    max_entries: int
    flags: int
    key: Shape
    value: Shape
    declared: Declared
    live: bytes  # mask of the value: 0xff where the agent does not compare


@dataclass(frozen=True, slots=True)
class Private:
    """A map that programs alone read and write: Python knows how large its entries are, not what is in them."""

    kind: int
    max_entries: int
    flags: int
    key_size: int
    value_size: int
    layout: str  # of key and value, as :func:`maps.layout.layout` says it
    declared: Declared


@dataclass(frozen=True, slots=True)
class Constant:
    """A load-time constant: ``const volatile`` in .rodata."""

    name: str
    shape: Scalar
    default: int
    doc: str


@dataclass(slots=True)
class Exports:
    """Everything that goes to Python, each under its C name."""

    order: str = "<"  # the objects' byte order, in struct's sign
    enums: dict[str, tuple[tuple[str, int], ...]] = field(default_factory=dict)
    records: dict[str, tuple[Field, ...]] = field(default_factory=dict)  # parts before wholes
    maps: dict[str, Map] = field(default_factory=dict)
    constants: dict[str, Constant] = field(default_factory=dict)
    values: dict[str, int | bytes] = field(default_factory=dict)  # of enums without a name; MACs
    private: dict[str, Private] = field(default_factory=dict)
