"""Calico's BGPFilters as ours: rules of each family, in their order."""

from collections.abc import Iterable, Mapping
from ipaddress import ip_network
from typing import Any

from agent.migrate import objects
from agent.migrate.calico_bgp_table import BGP_RULE
from agent.migrate.objects import source
from agent.migrate.report import Notes, Object, own_object
from agent.migrate.table import MISSING, index
from agent.options.number import decimal
from agent.options.values import MAX_ASN

ALL: Mapping[int, Mapping[str, Any]] = {
    4: {"cidr": "0.0.0.0/0", "maxLength": 32},
    6: {"cidr": "::/0", "maxLength": 128},
}
EVERYBODY = ["Pods", "Services", "Aggregates", "Peers"]
LISTS = {"exportV4": ("export", 4), "exportV6": ("export", 6), "importV4": ("import", 4), "importV6": ("import", 6)}
LEFT_OUT = "there is no BGPFilter, and peers with it have no session"
MOST = 64  # rules of one direction


class FieldUnsaid(Exception):  # noqa: N818  a value on its way to a finding
    """Ours cannot say it."""

    def __init__(self, field: str, text: str, advice: str) -> None:
        """Of which field of a BGPFilter, and what to do."""
        super().__init__(text)
        self.field, self.advice = field, advice


def as_number(given: object, default: int) -> int:
    """An AS number, of which the two halves may be written by themselves: 1.10.

    Raises:
        ValueError: it is none.
    """
    high, dot, low = str(given or default).partition(".")
    halves = (decimal(high, 0xFFFF), decimal(low, 0xFFFF)) if dot else (0, decimal(high, MAX_ASN))
    if halves[0] is None or halves[1] is None:
        raise ValueError(f"{given!r} is no AS number")
    return (halves[0] << 16) + halves[1]


def filter_object(notes: Notes, item: Object) -> Object | None:
    """Ours; None where a rule cannot be said, for without it others would decide what it does."""
    try:
        made = _rules(objects.spec(item))
    except FieldUnsaid as error:
        notes.missing(source(item), error.field, f"{error}; {LEFT_OUT}", error.advice)
        return None
    except ValueError as error:
        notes.missing(source(item), "spec", f"{error}; {LEFT_OUT}", "write it by hand")
        return None
    if not made:
        return None
    for name, rules in objects.spec(item).items():
        _lost(notes, source(item), f"spec.{name}", rules or ())
    notes.mapped(source(item), "spec", f"BGPFilter {objects.name(item)}")
    return own_object("BGPFilter", objects.name(item), made)


def _rules(spec: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Ours by direction. Raises FieldUnsaid."""
    made: dict[str, list[dict[str, Any]]] = {}
    for name, rules in spec.items():
        if name not in LISTS:
            raise FieldUnsaid(f"spec.{name}", "is no field that is known here", "see its release's notes")
        way, family = LISTS[name]
        for at, rule in enumerate(rules or ()):
            made.setdefault(way, []).append(_rule(f"spec.{name}[{at}]", rule, way, family))
    if any(len(rules) > MOST for rules in made.values()):
        raise FieldUnsaid("spec", f"has more than {MOST} rules of one direction", "write two by hand")
    return made


def _rule(where: str, rule: Mapping[str, Any], way: str, family: int) -> dict[str, Any]:
    """Raises FieldUnsaid."""
    rows = index(BGP_RULE)
    for name, value in rule.items():
        row = rows.get(name)
        if row is None or row.outcome is MISSING:
            text, advice = (
                (row.text, row.advice) if row else ("is no field that is known here", "see its release's notes")
            )
            raise FieldUnsaid(f"{where}.{name}={objects.text(value)}", text, advice)
    made: dict[str, Any] = {"action": rule.get("action")} | _prefixes(rule, family)
    if way == "export":
        made["sources"] = ["Peers"] if rule.get("source") else EVERYBODY
    for name in ("interface", "peerType"):
        if rule.get(name):
            made[name] = rule[name]
    if values := objects.part(rule, "communities").get("values"):
        made["communities"] = [str(one) for one in values]
    if rule.get("asPathPrefix"):
        made["asPathBegins"] = [as_number(one, 0) for one in rule["asPathPrefix"]]
    if changes := _set(rule.get("operations") or ()):
        made["set"] = changes
    return made


def _prefixes(rule: Mapping[str, Any], family: int) -> dict[str, Any]:
    if not rule.get("cidr"):
        return {"prefixes": [dict(ALL[family])]}
    network = ip_network(str(rule["cidr"]), strict=False)
    length, most = objects.part(rule, "prefixLength"), network.max_prefixlen
    operator = rule.get("matchOperator")
    least, longest = (
        (network.prefixlen, network.prefixlen)
        if operator in {"Equal", "NotEqual"}
        else (length.get("min", network.prefixlen), length.get("max", most))
    )
    meant = {"cidr": str(network), "minLength": max(least, network.prefixlen), "maxLength": longest}
    if operator in {"Equal", "In"}:
        return {"prefixes": [meant]}
    return {"prefixes": [dict(ALL[family])], "exceptPrefixes": [meant]}


def _set(operations: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for one in operations:
        if value := objects.part(one, "addCommunity").get("value"):
            made.setdefault("addCommunities", []).append(str(value))
        if path := objects.part(one, "prependASPath").get("prefix"):
            # the first of one operation is the leftmost, and a later operation stands before an earlier one
            made["prepend"] = [as_number(asn, 0) for asn in path] + made.get("prepend", [])
    return made


def _lost(notes: Notes, whose: str, where: str, rules: Iterable[Mapping[str, Any]]) -> None:
    """Tell of operations that we lack; their rules are there without."""
    for at, rule in enumerate(rules):
        for number, one in enumerate(rule.get("operations") or ()):
            for name in one.keys() - {"addCommunity", "prependASPath"}:
                field = f"{where}[{at}].operations[{number}].{name}"
                notes.missing(whose, field, "routes have one metric; the rule is there without", "set.localPreference")
