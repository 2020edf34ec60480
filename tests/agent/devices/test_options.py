"""The device plugin's options."""

from dataclasses import fields
from pathlib import Path

import pytest

from agent.devices.inventory import Known
from agent.devices.metrics import DeviceMetrics
from agent.devices.options import DeviceOptions, flag, load
from agent.errors import ConfigError

PAGE = Path(__file__).resolve().parents[3] / "docs" / "devices.md"


def test_a_flag_goes_before_the_environment_and_that_before_the_default() -> None:
    environ = {"SLUICEWAY_DEVICES_USE_CDI": "on", "SLUICEWAY_DEVICES_RESOURCE_PREFIX": "x.io"}
    options = load(["--resource-prefix=y.io"], environ)
    assert (options.use_cdi, options.resource_prefix, options.cdi_dir) == (True, "y.io", Path("/var/run/cdi"))


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        pytest.param(["--config"], "unrecognized arguments: --config", id="no such flag"),
        pytest.param(["--use-cdi=maybe"], "--use-cdi (from --use-cdi): 'maybe' is neither on nor off", id="no switch"),
        pytest.param(["--cdi-dir=cdi"], "relative; give an absolute path", id="a relative path"),
    ],
)
def test_what_is_wrong_is_told(argv: list[str], text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(argv, {})
    assert text in str(refused.value)


def test_every_option_has_a_row_in_the_page() -> None:
    rows = {line.split("`")[1] for line in PAGE.read_text().splitlines() if line.startswith("| `--")}
    assert rows == {flag(option) for option in fields(DeviceOptions)}


def test_every_metric_has_a_row_in_the_page() -> None:
    rows = {line.split("`")[1] for line in PAGE.read_text().splitlines() if line.startswith("| `sluiceway_")}
    metrics = DeviceMetrics(Known)
    metrics.count("x.io/a", "given")
    names = {sample.name for metric in metrics.registry.collect() for sample in metric.samples}
    names |= {metric.name for metric in metrics.registry.collect() if not metric.samples}
    assert rows == {name for name in names if name.startswith("sluiceway_") and not name.endswith("_created")}
