"""The points of ADD, DEL and a start, in their order, at each of which an agent may die; tests let it die there."""

ADD = ("ADD begun", "ADD veth made", "ADD veth noted", "ADD attached", "ADD noted", "ADD flushed")
DEL = ("DEL begun", "DEL detached", "DEL veth removed", "DEL noted", "DEL flushed")
VF_ADD = (
    "VF ADD noted",
    "VF ADD set",
    "VF ADD bound",
    "VF ADD hidden",
    "VF ADD guarded",
    "VF ADD moved",
    "VF ADD addressed",
    "VF ADD told",
    "VF ADD done",
)
VF_DEL = ("VF DEL begun", "VF DEL address", "VF DEL home", "VF DEL bound", "VF DEL set", "VF DEL named", "VF DEL done")
NIC_ADD = (
    "NIC ADD noted",
    "NIC ADD given",
    "NIC ADD made",
    "NIC ADD guarded",
    "NIC ADD moved",
    "NIC ADD addressed",
    "NIC ADD done",
)
NIC_DEL = ("NIC DEL begun", "NIC DEL address", "NIC DEL removed", "NIC DEL done")
# of addresses that another plugin, or a VF, is given
LEASE_ADD, LEASE_DEL = ("LEASE taken", "LEASE noted"), ("LEASE removed",)
START = ("START read", "START compared", "START noted")
# of a pod with further networks, behind ADD's and before DEL's; each NETWORK of the first of them
NETWORK_ADD = ("NETWORK noted", "NETWORK made", "NETWORKS noted")
NETWORK_DEL = ("NETWORK unmade", "NETWORKS forgotten")
# of an interface that comes to a pod that runs, or leaves it
PLUG = ("PLUG noted", "PLUG made")
UNPLUG = ("UNPLUG noted", "UNPLUG unmade")


def reached(_point: str, /) -> None:
    """Hears of each point when it is reached; tests put another in its place."""
