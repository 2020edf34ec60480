"""How :mod:`maps.abigen` writes map definitions of C as specs, and all of them as the registry ``MAPS``."""

import dataclasses
from collections.abc import Iterator

from maps.abigen_records import camel, leaf_of
from maps.declared import Declared
from maps.exports import SPECIAL, ExportError
from maps.shapes import Exports, Map, Private, Record, Scalar, Shape
from maps.spec import MapKind, MapSpec


def map_lines(exports: Exports, name: str, spec: Map) -> Iterator[str]:
    """A map's spec."""
    key, value = _codec(exports, spec.key), _codec(exports, spec.value)
    kind = MapKind(spec.kind)
    annotation = f"MapSpec[{_annotation(exports, spec.key)}, {_annotation(exports, spec.value)}]"
    yield f"{name.upper()}: Final[{annotation}] = MapSpec("
    yield f'    "{name}", MapKind.{kind.name}, {key}, {value}, {spec.max_entries}, {spec.flags},'
    yield from _declaration(spec.declared, spec.live)
    yield ")"


def registry_lines(exports: Exports) -> Iterator[str]:
    """Every map by its name, also those of which Python is not shown the contents."""
    yield "MAPS: Final[Mapping[str, MapSpec[Any, Any]]] = {"
    for name in sorted(exports.maps.keys() | exports.private.keys()):
        if name in exports.private:
            yield from _private(name, exports.private[name])
        else:
            yield f'    "{name}": {name.upper()},'
    yield "}"
    yield '"""Every map by its name; what only programs use is private, and its keys and values are octets."""'
    yield ""


def _private(name: str, spec: Private) -> Iterator[str]:
    """The entry of a private map."""
    codecs = f"record.Octets({spec.key_size}), record.Octets({spec.value_size})"
    yield f'    "{name}": MapSpec('
    yield f'        "{name}", MapKind.{MapKind(spec.kind).name}, {codecs}, {spec.max_entries}, {spec.flags},'
    yield from (f"    {line}" for line in _declaration(spec.declared, b""))
    yield "    ),"


def _declaration(declared: Declared, live: bytes) -> Iterator[str]:
    """The arguments that are declared beside the map, without those that are MapSpec's defaults."""
    given: list[tuple[str, object, str]] = [
        ("writer", declared.writer, f"Writer.{declared.writer.name}"),
        ("order", declared.order, str(declared.order)),
        ("option", declared.option, f'"{declared.option}"'),
        ("per_cpu", declared.per_cpu, str(declared.per_cpu)),
        ("buckets", declared.buckets, f'"{declared.buckets}"'),
        ("carried", declared.carried, f"Carried.{declared.carried.name}"),
        ("revises", declared.revises, f"Revises.{declared.revises.name}"),
        ("live", live, f'bytes.fromhex("{live.hex()}")'),
        ("private", declared.private, str(declared.private)),
    ]
    defaults = {field.name: field.default for field in dataclasses.fields(MapSpec)}
    arguments = [f"{name}={text}" for name, value, text in given if value != defaults[name]]
    if arguments:
        yield f"    {', '.join(arguments)},"


def _codec(exports: Exports, shape: Shape) -> str:
    """The codec of a whole key or value."""
    match shape:
        case Record(name=name):
            return camel(name)
        case Scalar(name="ip_addr"):
            return "record.ADDRESS"
        case Scalar(name=name) if name not in SPECIAL:
            return f'record.IntCodec("{exports.order}{leaf_of(exports, shape).form}")'
        case _:
            raise ExportError(f"{shape.name} alone cannot be a key or value; wrap it in a struct")


def _annotation(exports: Exports, shape: Shape) -> str:
    """The Python type of a whole key or value."""
    return leaf_of(exports, shape).annotation if isinstance(shape, Scalar) else camel(shape.name)
