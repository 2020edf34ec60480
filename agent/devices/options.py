"""The options of ``sluiceway-devices``: flags, or SLUICEWAY_DEVICES_<NAME> in the environment."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, NoReturn

from agent.errors import ConfigError
from agent.log import FORMATS, LEVELS
from agent.options import values
from agent.options.values import about

ENVIRONMENT = "SLUICEWAY_DEVICES_"


@dataclass(frozen=True, slots=True)
class DeviceOptions:
    """Every option of the device plugin. A field's flag is its name with hyphens."""

    config_file: Path = field(
        default=Path("/etc/pcidp/config.json"),
        metadata=about(
            values.path, "the resources, as the SR-IOV network device plugin has them; read when it changes"
        ),
    )
    resource_prefix: str = field(
        default="intel.com", metadata=about(values.text, "of resources whose configuration names none")
    )
    use_cdi: bool = field(
        default=False,
        metadata=about(values.switch, "device nodes reach containers by CDI files, and not by the kubelet's list"),
    )
    cdi_dir: Path = field(default=Path("/var/run/cdi"), metadata=about(values.path, "where CDI files are written"))
    kubelet_dir: Path = field(
        default=Path("/var/lib/kubelet"),
        metadata=about(values.path, "where the kubelet has device-plugins and pod-resources"),
    )
    run_dir: Path = field(
        default=Path("/run/sluiceway"),
        metadata=about(values.path, "the agent's folder for sockets, where devices.sock is and slots have folders"),
    )
    root: Path = field(
        default=Path("/"),
        metadata=about(values.path, "the folder that has the node's sys and proc, which are only read"),
    )
    listen: tuple[str, int] = field(default=("127.0.0.1", 9651), metadata=about(values.endpoint, "metrics and health"))
    log_level: str = field(default="info", metadata=about(values.one_of(LEVELS), "least level that is logged"))
    log_format: str = field(default="text", metadata=about(values.one_of(FORMATS), "how a line is written"))


def load(argv: Sequence[str], environ: Mapping[str, str]) -> DeviceOptions:
    """The options, as the flags and the environment give them.

    Raises:
        ConfigError: an unknown name, or a value that cannot be used.
        SystemExit: ``--help`` was answered.
    """
    flags = vars(_parser().parse_args(argv))
    chosen: dict[str, Any] = {}
    for option in fields(DeviceOptions):
        variable = ENVIRONMENT + option.name.upper()
        for text, origin in ((flags[option.name], flag(option)), (environ.get(variable), variable)):
            if text is not None:
                chosen[option.name] = _value(option, text, origin)
                break
    return DeviceOptions(**chosen)


def flag(option: "Field[Any]") -> str:
    """How the command line has it."""
    return f"--{option.name.replace('_', '-')}"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see sluiceway-devices --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="sluiceway-devices",
        description="Offers this node's SR-IOV functions, accelerators and AF_XDP slots to the kubelet.",
        epilog=f"Each is also {ENVIRONMENT}<NAME> in the environment.",
        allow_abbrev=False,
    )
    for option in fields(DeviceOptions):
        purpose, form = option.metadata["purpose"], option.metadata["form"]
        told = f"{purpose} (default: {values.written(option.default)})"
        parser.add_argument(flag(option), dest=option.name, help=told, metavar=form)
    return parser


def _value(option: "Field[Any]", text: str, origin: str) -> object:
    try:
        return option.metadata["parse"](text)
    except ValueError as error:
        raise ConfigError(f"{flag(option)} (from {origin}): {error}") from error
