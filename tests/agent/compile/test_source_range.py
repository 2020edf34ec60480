"""loadBalancerSourceRanges: of which addresses and families they are."""

from dataclasses import replace

import pytest

from agent.model.address import mapped, parse_address, parse_network, unmapped
from maps import abi
from tests.agent.compile.objects import HERE, HTTP, compiled, endpoint, piece, service

FAR, NEAR = endpoint("10.1.0.1"), endpoint("10.0.0.5", HERE)
BOTH = piece("web", FAR, NEAR)
RANGES = (parse_network("192.0.2.0/24"),)
BALANCER, BALANCER6 = parse_address("203.0.113.6"), parse_address("fd00:5::6")


@pytest.mark.parametrize(
    ("ranges", "kept"),
    [
        pytest.param(None, set(), id="53 without ranges everybody is served"),
        pytest.param(("192.0.2.0/24",), {"192.0.2.0/24"}, id="53 one family's leave nobody of the other"),
        pytest.param(("192.0.2.0/24", "fd00::/8"), {"192.0.2.0/24", "fd00::/8"}, id="53 each family has its own"),
        pytest.param(("0.0.0.0/0", "::/0"), {"0.0.0.0/0", "::/0"}, id="53 the whole of a family is of that family"),
        pytest.param((), set(), id="53 ranges of which none can be read serve nobody"),
    ],
)
def test_source_ranges_are_of_the_load_balancers_addresses_alone(
    ranges: tuple[str, ...] | None, kept: set[str]
) -> None:
    given = None if ranges is None else tuple(map(parse_network, ranges))
    both = service(
        ip="10.96.0.1,fd00::1",
        external_ips=(parse_address("203.0.113.5"),),
        load_balancer=(BALANCER, BALANCER6),
        source_ranges=given,
        ports=(replace(HTTP, node_port=30080),),
    )
    (records,) = (one.records for one in compiled(both, BOTH).services.records.values())
    served = {abi.ServiceKey.unpack(key): abi.Service.unpack(one) for key, one in records.of_map("services").items()}
    ranged = {unmapped(key.addr) for key, one in served.items() if one.flags & abi.ServiceFlag.SERVICE_RANGED}
    assert ranged == (set() if given is None else {BALANCER, BALANCER6})
    sets = {one.set_id: unmapped(key.addr).version for key, one in served.items() if one.flags}
    found = set()
    for key in map(abi.SourceRangeKey.unpack, records.of_map("source_ranges")):
        address = unmapped(key.addr)
        assert sets[key.set_id] == address.version
        found.add(f"{address}/{key.prefix_bits - 32 - (96 if address.version == 4 else 0)}")
    assert found == kept


def test_an_address_that_is_an_external_ip_too_serves_the_ranges_alone() -> None:
    both = service(external_ips=(BALANCER,), load_balancer=(BALANCER,), source_ranges=RANGES)
    (records,) = (one.records for one in compiled(both, BOTH).services.records.values())
    services = {abi.ServiceKey.unpack(k).addr: abi.Service.unpack(v) for k, v in records.of_map("services").items()}
    assert services[mapped(BALANCER)].flags & abi.ServiceFlag.SERVICE_RANGED
