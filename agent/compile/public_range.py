"""Which external addresses Services may have: with --strict-external-ip-validation those in ranges of the operator's.

Whoever may write Services could else take any address of the cluster's clients for his own (CVE-2020-8554).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from agent.model.address import Address, Network


@dataclass(frozen=True, slots=True)
class PublicRanges:
    """The ranges, of each kind of address; without one there is no address of that kind."""

    external: tuple[Network, ...] = ()  # --service-external-ip-range
    balancer: tuple[Network, ...] = ()  # --loadbalancer-ip-range

    def refusal(self, address: Address, *, of_balancer: bool) -> str:
        """Why a Service may not have it; empty when it may."""
        option = "--loadbalancer-ip-range" if of_balancer else "--service-external-ip-range"
        if _is_within(address, self.balancer if of_balancer else self.external):
            return ""
        return f"{address} is not served: it is in no range of {option}, and --strict-external-ip-validation is on"


def _is_within(address: Address, ranges: Iterable[Network]) -> bool:
    return any(address in network for network in ranges if network.version == address.version)
