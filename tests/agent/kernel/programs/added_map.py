"""What the agent's pieces make of a map that was added to a copy of the sources; test_registry.py runs it in the copy.

``added_map.py generate CACHE`` compiles the copy and writes its maps/abi.py; ``added_map.py try CACHE PINS`` drives the
agent's pieces with that, and prints what they did as JSON.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.compile.desired import Desired
from agent.compile.records import Owner, OwnerKind, Records
from agent.kernel.programs import build
from agent.kernel.programs.generation import begin
from agent.kernel.programs.load import Loaded
from agent.kernel.programs.sizes import sizes
from agent.model.name import ObjectName
from agent.options.choices import Objects
from agent.options.config import Options
from agent.reconcile.tracker import Tracker
from agent.serve.telemetry import map_uses
from maps import abi, abigen
from maps.apply import read, write
from maps.errors import MapFull
from maps.pins import PinRoot
from maps.registry import agent_maps, open_agent_tables, open_table
from maps.table import Table

MEMORY, CPUS = 64 << 30, 1


def compiled(cache: Path) -> list[Path]:
    """The objects of this copy."""
    found = build.objects(Objects.COMPILE, cache, build.Sources.installed(), build.compiler())
    return [*found.values()]


def generate(cache: Path) -> None:
    """Compile, and renew maps/abi.py, which the next process reads."""
    abigen.main([str(abi.__file__), *map(str, compiled(cache))])


def tracked(tables: Mapping[str, Table[Any, Any]]) -> dict[str, Any]:
    """What the tracker does with an owner who has a record in the added map."""
    owner, node = Owner(OwnerKind.SERVICE, ObjectName("default", "gauge")), Owner(OwnerKind.NODE, "n1")
    records = {bytes((n, 0, 0, 0)): bytes((n, 0, 0, 0)) + bytes(4) for n in (1, 2)}
    tracker, table = Tracker(tables, node), tables["gauges"]
    before = tracker.revision
    tracker.want(Desired(owners={owner: Records.of({"gauges": records})}, changed=frozenset({owner}), synced=True))
    seen: dict[str, Any] = {"planned": sum(tracker.write()), "written": read(table) == records}
    seen["revised"] = tracker.revision - before
    counting = {bytes((1, 0, 0, 0)): bytes((1, 0, 0, 0)) + b"seen"}
    write(table, counting)
    seen["left alone"] = sum(tracker.resync())
    write(table, {bytes((2, 0, 0, 0)): bytes(8), bytes((9, 0, 0, 0)): bytes(8)})
    seen["put right"] = sum(tracker.resync())
    seen["is as wanted"] = read(table) == records | counting
    too_many = {n.to_bytes(4, "little"): bytes(8) for n in range(table.max_entries + 1)}
    tracker.want(Desired(owners={owner: Records.of({"gauges": too_many})}, changed=frozenset({owner}), synced=True))
    try:
        sum(tracker.write())
    except MapFull as full:
        seen["refused"] = str(full)
    return seen


def attempt(cache: Path, pins: Path) -> dict[str, Any]:
    """A node with the added map, and a second start with a larger one."""
    added: Any = abi.MAPS["gauges"]
    root = PinRoot(pins)
    root.lock()
    objects = {path.name: path for path in compiled(cache)}
    small, large = (sizes(Options(max_services=n), MEMORY, CPUS) for n in (2048, 4096))
    first = begin(root, small).new
    Loaded(objects, first, small).close()
    root.make_current(first)
    tables = open_agent_tables(first.maps)
    tracking, table = tracked(tables), tables["gauges"]
    table.delete([key for key, _ in table.items()])
    key, value = added.key.unpack(bytes((5, 0, 0, 0))), added.value.unpack(bytes(range(8)))
    table.update([(key, value)])
    (use,) = (use for use in map_uses(first) if use.name == "gauges")
    move = begin(root, large)
    Loaded(objects, move.new, large).close()
    move.seed()
    carried = open_table(added, move.new.maps)
    listed = subprocess.run(
        [sys.executable, "-P", "-m", "dpctl", "--pin-root", str(pins), "map", "list", "-o", "json"],
        check=True,
        capture_output=True,
        text=True,
    )
    return {
        "order": [spec.name for spec in agent_maps()],
        "sizes": [small["gauges"], table.max_entries, large["gauges"], carried.max_entries],
        "counted": use.entries,
        "carried": [(key, value)] == [*carried.items()],
        "listed": next(row["used"] for row in json.loads(listed.stdout) if row["name"] == "gauges"),
        "tracker": tracking,
    }


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["generate", cache]:
            generate(Path(cache))
        case ["try", cache, pins]:
            sys.stdout.write(json.dumps(attempt(Path(cache), Path(pins))))
        case _:
            sys.exit(__doc__)
