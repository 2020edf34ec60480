"""Makes kubectl's plugin one file, with the program that kubectl asks what to complete beside it: ``plugin.py FOLDER``.

The same sources make the same file.
"""

import sys
import zipfile
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent.parent / "kubectl_sluiceway"
INTERPRETER = b"#!/usr/bin/env python3\n"
START = "from kubectl_sluiceway import __main__\n"  # which ends with its exit code
COMPLETE = """#!/bin/sh
exec kubectl-sluiceway __complete "$@"
"""


def build(folder: Path) -> Path:
    """Write ``kubectl-sluiceway`` and ``kubectl_complete-sluiceway`` there; returns the first.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = {f"{SOURCE.name}/{module.name}": module.read_text() for module in sorted(SOURCE.glob("*.py"))}
    plugin = folder / "kubectl-sluiceway"
    with plugin.open("wb") as made:
        made.write(INTERPRETER)
        with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in {"__main__.py": START, **files}.items():
                archive.writestr(zipfile.ZipInfo(name), text)
    complete = folder / "kubectl_complete-sluiceway"
    complete.write_text(COMPLETE)
    for file in (plugin, complete):
        file.chmod(0o755)
    return plugin


if __name__ == "__main__":
    print(build(Path(sys.argv[1])))
