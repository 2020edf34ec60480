"""Options of network policies."""

from dataclasses import dataclass, field

from agent.options import values
from agent.options.values import about


@dataclass(frozen=True)
class PolicyOptions:
    """How policies are enforced."""

    network_policy: bool = field(
        default=True,
        metadata=about(
            values.switch, "enforce NetworkPolicies and ClusterNetworkPolicies (kube-router's --run-firewall)"
        ),
    )
    policy_reject: bool = field(
        default=False,
        metadata=about(values.switch, "what a policy denies is refused with an error, and not dropped in silence"),
    )
    netpol_default_deny: bool = field(
        default=False,
        metadata=about(
            values.switch,
            "changes nothing, for pods that are not known yet pass nothing anyway; accepted for users of kube-router",
        ),
    )
