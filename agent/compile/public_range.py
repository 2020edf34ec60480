"""Which external addresses Services may have: with --strict-external-ip-validation those in ranges of the operator's.

Whoever may write Services could else take any address of the cluster's clients for his own (CVE-2020-8554).
"""

from dataclasses import dataclass

from agent.model.address import Address, Network, is_in_any


@dataclass(frozen=True, slots=True)
class PublicRanges:
    """The ranges, of each kind of address; without one there is no address of that kind."""

    external: tuple[Network, ...] = ()  # --service-external-ip-range
    balancer: tuple[Network, ...] = ()  # --loadbalancer-ip-range

    def refusal(self, address: Address, *, of_balancer: bool) -> str:
        """Why a Service may not have it; empty when it may."""
        option = "--loadbalancer-ip-range" if of_balancer else "--service-external-ip-range"
        if is_in_any(address, self.balancer if of_balancer else self.external):
            return ""
        return f"{address} is not served: it is in no range of {option}, and --strict-external-ip-validation is on"
