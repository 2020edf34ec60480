"""docs/options.md: every option of the agent, from ``Options``."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import Field
from pathlib import Path
from typing import Any

from agent.options.origins import ENVIRONMENT
from deploy.build.option_schema import NOT_IN_CHART, described_default, options

PAGE = Path(__file__).resolve().parents[2] / "docs" / "options.md"
_FLAG = re.compile(r"--[a-z][a-z-]*[a-z](?:=\w+)?")
HEAD = """\
# Options

Of `sluiceway-agent run`, `config` and `cleanup`. Generated from `agent/options/`.

A value is looked for in this order: the flag, `--xdp generic`; the environment, `{environment}XDP=generic`; the file
that `--config` names, a line `xdp: generic`; the default, some of which the node says. `sluiceway-agent config` prints
every value with where it is from, in the form of that file. The chart takes them under `options`, such as `--set
options.xdp=generic`, but for {not_in_chart}.

A value counts from the agent's next start. A word that does not exist, or options that cannot be together, end the
start with a sentence, before anything is touched.

- on|off is also true|false and yes|no. Lists are separated by commas, or by their flag given again.
- Where a map is to have another number of entries, what is in it goes to a new one as the agent starts, and traffic
  goes on ([upgrade.md](upgrade.md)).
- What goes together: [duties.md](duties.md) for `--network`, `--network-policy` and `--service-proxy`;
  [architecture.md](architecture.md) for `--encapsulation` and MTUs; [services.md](services.md) for what is served to
  whom; [loadbalancer.md](loadbalancer.md) for `--loadbalancer-pools` and `--l2-announce`; [ipam.md](ipam.md) for
  `--ip-pools`; [xdp.md](xdp.md) for `--xdp`.

| option | value | default | meaning |
|---|---|---|---|
"""


def files() -> Mapping[Path, str]:
    """The page, as it is to be."""
    missing = ", ".join(f"`{name}`" for name, _ in options() if name in NOT_IN_CHART)
    return {PAGE: HEAD.format(environment=ENVIRONMENT, not_in_chart=missing) + "".join(_rows())}


def _rows() -> Iterator[str]:
    for name, option in options():
        cells = (f"`--{name}`", option.metadata["form"], described_default(option), _meaning(option))
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def _meaning(option: "Field[Any]") -> str:
    """The purpose as a sentence, with flags as code."""
    told = _FLAG.sub(r"`\g<0>`", option.metadata["purpose"])
    return f"{told[0].upper()}{told[1:]}."
