"""What became of each thing that another's configuration says: an option or object of ours, nothing, or no counterpart.

The lowest module of ``migrate``: the importers return a :class:`Migration`, which ``command`` prints.
"""

import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import yaml

from agent.options.origins import yaml_value

Object = Mapping[str, Any]  # of Kubernetes, as JSON has it


def own_object(kind: str, name: str, spec: Mapping[str, Any]) -> Object:
    """One of ours, which are all of the whole cluster."""
    return {"apiVersion": "sluiceway.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


class Outcome(StrEnum):
    """What became of one flag, annotation or field."""

    MAPPED = "mapped"  # an option or object of ours says the same
    NEEDLESS = "needless"  # it is so anyway, or asks for nothing
    MISSING = "no counterpart"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing of the input, and what became of it."""

    outcome: Outcome
    source: str  # the object: "DaemonSet kube-system/kube-router"
    field: str  # with its value: "--cluster-asn=64512"
    text: str  # which option it is now, or why there is none
    advice: str = ""  # what to do

    def __str__(self) -> str:
        advice = f"; {self.advice}" if self.advice else ""
        return f"{self.outcome}: {self.source}: {self.field}: {self.text}{advice}"


@dataclass(frozen=True, slots=True)
class Setting:
    """The value of an option, and who asked for it."""

    value: str  # as the option's reader takes it
    origin: str


@dataclass(frozen=True, slots=True)
class Migration:
    """All of one input."""

    settings: Mapping[str, Setting]  # by the option's name: "tunnel-port"
    objects: tuple[Object, ...]  # to apply
    findings: tuple[Finding, ...]

    @property
    def is_whole(self) -> bool:
        """Whether everything has a counterpart."""
        return all(finding.outcome is not Outcome.MISSING for finding in self.findings)


class Notes:
    """Gathers a Migration; an importer's functions write to one."""

    def __init__(self) -> None:
        self.settings: dict[str, Setting] = {}
        self.objects: list[Object] = []
        self.findings: list[Finding] = []

    def mapped(self, source: str, field: str, text: str, advice: str = "") -> None:
        """Ours says the same."""
        self.findings.append(Finding(Outcome.MAPPED, source, field, text, advice))

    def needless(self, source: str, field: str, text: str) -> None:
        """Nothing of ours is asked for."""
        self.findings.append(Finding(Outcome.NEEDLESS, source, field, text))

    def missing(self, source: str, field: str, text: str, advice: str = "") -> None:
        """Ours does not do it."""
        self.findings.append(Finding(Outcome.MISSING, source, field, text, advice))

    def option(self, name: str, value: str, source: str, field: str) -> None:
        """The option has this value; what another object said otherwise before has no counterpart."""
        earlier = self.settings.get(name)
        if earlier is not None and earlier.value != value:
            self.missing(source, field, f"--{name} is {earlier.value} already, by {earlier.origin}", "choose one")
            return
        self.settings[name] = Setting(value, f"{source}: {field}")
        self.mapped(source, field, f"--{name} {value}")

    def result(self) -> Migration:
        """What was gathered; equal findings once."""
        return Migration(dict(self.settings), tuple(self.objects), tuple(dict.fromkeys(self.findings)))


def config_text(settings: Mapping[str, Setting]) -> str:
    """A file for ``--config``; each value stands below a comment that says who asked for it."""
    lines = []
    for name, setting in sorted(settings.items()):
        lines += [f"# {_one_line(setting.origin)}", f"{name}: {yaml_value(setting.value)}"]
    return "\n".join([*lines, ""]) if lines else "{}\n"


def values_text(settings: Mapping[str, Setting]) -> str:
    """A file of values for the chart, as :func:`config_text` has them."""
    return "options:\n" + textwrap.indent(config_text(settings), "  ")


def objects_text(objects: Iterable[Object]) -> str:
    """YAML for ``kubectl apply -f``."""
    return yaml.safe_dump_all(objects, explicit_start=True, sort_keys=False)


def findings_text(findings: Iterable[Finding]) -> str:
    """A line a finding, those without a counterpart last."""
    order = (Outcome.MAPPED, Outcome.NEEDLESS, Outcome.MISSING)
    ordered = sorted(findings, key=lambda finding: order.index(finding.outcome))
    return "".join(f"{_one_line(str(finding))}\n" for finding in ordered)


def _one_line(text: str) -> str:
    return " ".join(text.split())
