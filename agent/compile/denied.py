"""The records of the ranges from which nothing is let in."""

from agent.compile.records import NOTHING, Owner, OwnerKind, Records
from agent.model.denied import Denied
from maps import abi

OWNER = Owner(OwnerKind.DENIED, "")


def denied_records(denied: Denied) -> Records:
    """What the map is to hold."""
    return Records([(abi.DENIED_PREFIXES.name, denied.keys, denied.values)]) if denied.keys else NOTHING
