"""``python -m deploy.build.generated [--check]`` writes what is made from the sources, or fails where it differs.

Each module of ``WRITERS`` says which files it makes and what is in them; ``maps/abi.py`` has a generator of its own.
"""

import difflib
import sys
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path

from deploy.build import chart, page_drop_reasons, page_migrate, page_options

WRITERS = (chart.files, page_options.files, page_drop_reasons.files, page_migrate.files)
ROOT = Path(__file__).resolve().parents[2]


def wanted() -> Mapping[Path, str]:
    """All generated files, as they are to be."""
    return dict(chain.from_iterable(files().items() for files in WRITERS))


def differences(files: Mapping[Path, str]) -> Iterator[str]:
    """Lines of what differs from what is there."""
    for path, text in files.items():
        now = path.read_text() if path.exists() else ""
        name = str(path.relative_to(ROOT))
        yield from difflib.unified_diff(now.splitlines(keepends=True), text.splitlines(keepends=True), name, name)


def main(arguments: list[str]) -> int:
    """Write, or with ``--check`` compare; returns the exit code."""
    files = wanted()
    if arguments != ["--check"]:
        for path, text in files.items():
            path.write_text(text)
        return 0
    found = [*differences(files)]
    sys.stdout.writelines(found)
    if found:
        sys.stderr.write("generated files are not as their sources say: run `make generate`\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
