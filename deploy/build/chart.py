"""What the chart says of the agent's options: values, their schema, and the defaults that templates ask for."""

import json
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

from deploy.build import option_schema
from deploy.build.option_schema import default, described_default, in_chart

CHART = Path(__file__).resolve().parents[1] / "helm" / "sluiceway"
VALUES, SCHEMA, DEFAULTS = CHART / "values.yaml", CHART / "values.schema.json", CHART / "files" / "defaults.yaml"
BEGIN = "# ---- options: generated"  # a line of values.yaml; what is behind it is written here
WIDTH = 116
ABOUT = """\
# By the names of its flags. null: the agent's default. Switches are true and false, or "on" and "off" in quotes; lists
# are lists, or texts with commas. docs/options.md says how they go together.
"""


def files() -> Mapping[Path, str]:
    """The chart's files that options have a part in, as they are to be."""
    return {VALUES: _values(VALUES.read_text()), SCHEMA: _schema(SCHEMA.read_text()), DEFAULTS: _defaults()}


def _values(text: str) -> str:
    """values.yaml with the options as they are now."""
    own, _, rest = text.partition(BEGIN)
    line = BEGIN + rest.splitlines()[0] + "\n"
    return own + line + ABOUT + "options:\n" + "".join(f"  {line}\n" for line in _lines())


def _lines() -> Iterator[str]:
    for name, option in in_chart():
        told = f"{option.metadata['purpose']}. {option.metadata['form']}; default: {described_default(option)}"
        yield from textwrap.wrap(told, WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
        yield f"{name}: null"


def _schema(text: str) -> str:
    """values.schema.json with the options as they are now."""
    whole = json.loads(text)
    whole["properties"]["options"] = {
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {name: option_schema.schema(option) for name, option in in_chart()},
    }
    return json.dumps(whole, indent=2) + "\n"


def _defaults() -> str:
    lines = (f"{name}: {json.dumps(default(option))}\n" for name, option in in_chart())
    return "# The agent's defaults, for templates. Generated from agent/options/.\n" + "".join(lines)
