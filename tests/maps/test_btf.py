"""The reader sees what bpftool sees."""

import json
import subprocess
from pathlib import Path

import pytest

from maps import btf, elf


def test_it_agrees_with_bpftool(layout_object: Path) -> None:
    command = ["bpftool", "btf", "dump", "-j", "file", str(layout_object)]
    told = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["types"]
    types = btf.parse(elf.read(layout_object).sections[".BTF"])
    assert len(types.types) == len(told)
    for shown in told:
        found = types[shown["id"]]
        match shown["kind"]:
            case "STRUCT":
                assert isinstance(found, btf.Struct)
                assert [(m.name or "(anon)", m.bit_offset) for m in found.members] == [
                    (m["name"], m["bits_offset"]) for m in shown["members"]
                ]
                assert found.size == shown["size"]
            case "ENUM":
                assert isinstance(found, btf.Enum)
                assert list(found.values) == [(v["name"], v["val"]) for v in shown["values"]]
            case "ARRAY":
                assert isinstance(found, btf.Array)
                assert (found.type_id, found.length) == (shown["type_id"], shown["nr_elems"])
            case "INT" | "TYPEDEF" | "VAR" | "DATASEC":
                assert getattr(found, "name", None) == shown["name"]


@pytest.mark.parametrize("blob", [b"", b"\0" * 40, b"\x7fELF" + bytes(40)])
def test_other_bytes_are_refused(blob: bytes) -> None:
    with pytest.raises(btf.BtfError):
        btf.parse(blob)


def test_another_file_is_no_object(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("no object")
    with pytest.raises(elf.ElfError, match="no 64-bit ELF object"):
        elf.read(path)
