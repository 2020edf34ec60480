"""Services as nftables rules, in the shape that kube-proxy's nftables mode gives them: for comparison.

A map leads from address, protocol and port to a chain per service, from which a random number leads to a chain per
endpoint. Chains for what these services have not (node ports, policies, affinity) are left out: what remains is the
least that a packet to a ClusterIP meets.
"""

from ipaddress import IPv4Address

from bench.plane import BACKEND_PORT, FIRST_SERVICE, SERVICE_PORT

_TABLE = "ip swbench"
_PODS = "10.244.0.0/16"
_BATCH = 1000  # services in a transaction

_BASE = f"""
table {_TABLE} {{
  map services {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
  set addresses {{ type ipv4_addr; }}
  chain services {{ ip daddr . meta l4proto . th dport vmap @services; }}
  chain mark-for-masquerade {{ meta mark set meta mark | 0x4000; }}
  chain masquerading {{
    meta mark & 0x4000 == 0 return
    meta mark set meta mark ^ 0x4000
    masquerade fully-random
  }}
  chain without-endpoints {{ ip daddr @addresses reject; }}
}}
"""

_HOOKS = f"""
table {_TABLE} {{
  chain nat-prerouting {{ type nat hook prerouting priority dstnat; jump services; }}
  chain nat-output {{ type nat hook output priority -100; jump services; }}
  chain nat-postrouting {{ type nat hook postrouting priority srcnat; jump masquerading; }}
  chain filter-forward {{ type filter hook forward priority -110; ct state new jump without-endpoints; }}
}}
"""


def rules(services: int, backend: IPv4Address) -> tuple[str, ...]:
    """Transactions for ``nft -f``, to be run in order; each service has the one endpoint."""
    first = range(0, services, _BATCH)
    batches = (_services(range(i, min(i + _BATCH, services)), backend) for i in first)
    return _BASE, *batches, _HOOKS


def _services(numbers: range, backend: IPv4Address) -> str:
    chains, elements, addresses = [], [], []
    for i in numbers:
        address = FIRST_SERVICE + i
        addresses.append(str(address))
        elements.append(f"{address} . udp . {SERVICE_PORT} : goto service-{i}")
        chains.append(f"""
  chain endpoint-{i} {{
    ip saddr {backend} jump mark-for-masquerade
    meta l4proto udp dnat to {backend}:{BACKEND_PORT}
  }}
  chain service-{i} {{
    ip daddr {address} udp dport {SERVICE_PORT} ip saddr != {_PODS} jump mark-for-masquerade
    numgen random mod 1 vmap {{ 0 : goto endpoint-{i} }}
  }}""")
    return "\n".join(
        [
            f"table {_TABLE} {{",
            *chains,
            "}",
            f"add element {_TABLE} services {{ {', '.join(elements)} }}",
            f"add element {_TABLE} addresses {{ {', '.join(addresses)} }}",
        ]
    )
