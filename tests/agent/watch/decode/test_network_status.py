"""What a Pod says of its further networks is read as far as it can be used, and is never too much."""

import json
from ipaddress import ip_address
from typing import Any

import pytest

from agent.model.name import ObjectName
from agent.watch.decode.network_status import MOST, further_addresses
from agent.watch.decode.shared import Shared


def read(told: Any) -> dict[str, list[str]]:
    text = told if isinstance(told, str) else json.dumps(told)
    return {str(name): [*map(str, ips)] for name, ips in further_addresses(text, Shared())}


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        pytest.param(
            [{"name": "shop/a", "ips": ["10.9.0.7", "fd09::7"]}], {"shop/a": ["10.9.0.7", "fd09::7"]}, id="both"
        ),
        pytest.param([{"name": "shop/a", "ips": ["10.9.0.7/24"]}], {"shop/a": ["10.9.0.7"]}, id="with a length"),
        pytest.param(
            [{"name": "shop/a", "ips": ["10.9.0.7"]}, {"name": "shop/a", "ips": ["10.9.0.8"]}],
            {"shop/a": ["10.9.0.7", "10.9.0.8"]},
            id="a network twice",
        ),
        pytest.param([{"name": "shop/a", "ips": ["10.9.0.7"], "default": True}], {}, id="the first interface"),
        pytest.param([{"name": "sluiceway", "ips": ["10.1.0.7"]}], {}, id="what is no definition"),
        pytest.param([{"name": "shop/a", "ips": ["127.0.0.1", "::ffff:10.0.0.1", "x", ""]}], {}, id="no addresses"),
        pytest.param([{"name": "shop/a"}], {}, id="layer 2 alone"),
        pytest.param("{", {}, id="no JSON"),
        pytest.param({"name": "shop/a"}, {}, id="no list"),
        pytest.param("", {}, id="nothing"),
        pytest.param("[" * 100000, {}, id="too deep"),
    ],
)
def test_network_status(told: Any, expected: dict[str, list[str]]) -> None:
    assert read(told) == expected


def test_one_pod_has_not_more_than_some() -> None:
    every = [{"name": f"shop/n{part}", "ips": [f"10.{part}.0.{host}" for host in range(200)]} for part in range(3)]
    assert sum(map(len, read(every).values())) == MOST
    assert ip_address("10.0.0.1") in dict(further_addresses(json.dumps(every), Shared()))[ObjectName("shop", "n0")]
