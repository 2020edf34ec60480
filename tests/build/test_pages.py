"""Pages that are generated have everything that their sources have."""

from pathlib import Path

import pytest

from deploy.build import option_schema, page_drop_reasons, page_options
from maps.abi import DropReason

(OPTIONS,) = page_options.files().values()
(REASONS,) = page_drop_reasons.files().values()


@pytest.mark.parametrize("name", [name for name, _ in option_schema.options()])
def test_every_option_has_a_row(name: str) -> None:
    assert OPTIONS.count(f"\n| `--{name}` | ") == 1


def test_the_page_on_security_has_every_port_that_is_listened_at() -> None:
    """The options of API servers' and peers' ports are of where others listen."""
    page = (Path(__file__).resolve().parents[2] / "docs/security.md").read_text()
    ports = page.partition("\n## Ports\n")[2].partition("\n## ")[0]
    found = {name for name, option in option_schema.options() if "PORT" in option.metadata["form"]}
    assert {name for name in found if f"`--{name}`" not in ports} == {"api-server", "peer-router-ports"}


def test_a_row_has_four_cells_whatever_is_in_them() -> None:
    rows = [line for line in OPTIONS.splitlines() if line.startswith("| `--")]
    assert {row.replace("\\|", "").count("|") for row in rows} == {5}


@pytest.mark.parametrize("reason", [reason for reason in DropReason if reason not in page_drop_reasons.NONE])
def test_every_reason_has_a_row_with_the_headers_own_words(reason: DropReason) -> None:
    told = page_drop_reasons.meanings(page_drop_reasons.HEADER.read_text())[reason.name]
    assert f"| {reason.value} | `{reason.name.removeprefix('DROP_').lower()}` | {told}" in REASONS


def test_a_comment_of_several_lines_is_one_sentence() -> None:
    header = "enum drop_reason {\n\tDROP_NONE,\n\tDROP_A,\t/* the first\n\t\t * and */\n\tDROP_B, /* b */\n};\n"
    assert page_drop_reasons.meanings(header) == {"DROP_A": "the first and", "DROP_B": "b"}
