"""The annotations by which a Service says who of its endpoints serves a new flow, and how much each weighs.

kube-router's two are understood as it does: of a scheduler that it does not know it makes rr, and its flags are IPVS's
bits, which have names for sh and mh. Where both are there, ours go before.
"""

from collections.abc import Iterator, Mapping

from agent.model.service import Scheduler, WeightOf, Weights
from agent.options.number import decimal
from agent.watch.decode.reader import Reader

SCHEDULER, FLAGS, WEIGHTS = (f"sluiceway.io/{name}" for name in ("scheduler", "schedflags", "weights"))
THEIR_SCHEDULER, THEIR_FLAGS = (f"kube-router.io/service.{name}" for name in ("scheduler", "schedflags"))
MOST_WEIGHT = 100
HASHED = (Scheduler.SH, Scheduler.MH)
NAMES = {scheduler.name.lower(): scheduler for scheduler in Scheduler}
BY_PORT = frozenset({"flag-2", "sh-port", "mh-port"})
WITHOUT_EFFECT = frozenset({"flag-1", "flag-3", "sh-fallback", "mh-fallback"})  # who cannot serve is never chosen
_SHOWN = 64  # characters of a wrong word


def scheduling(read: Reader, annotations: Mapping[str, str]) -> tuple[Scheduler, bool]:
    """The scheduler, and whether it goes by the client's port too."""
    scheduler = _scheduler(read, annotations)
    by_port = False
    for word, where in _flags(annotations):
        if word not in BY_PORT | WITHOUT_EFFECT or (word[:2] in NAMES and NAMES[word[:2]] is not scheduler):
            known = ", ".join(sorted(BY_PORT | WITHOUT_EFFECT))
            read.refuse(where, f"{word[:_SHOWN]!r} is no flag of the scheduler {_name(scheduler)}; there are {known}")
        elif scheduler not in HASHED:
            read.refuse(where, f"{word!r} has a meaning with sh and mh alone, and the scheduler is {_name(scheduler)}")
        else:
            by_port |= word in BY_PORT
    return scheduler, by_port


def weights(read: Reader, annotations: Mapping[str, str]) -> Weights:
    """How much endpoints weigh: ``target/web-0=3, node/worker-1=2, zone/eu-a=0``; what is wrong counts for nothing."""
    where, found = _where(WEIGHTS), dict[tuple[WeightOf, str], int]()
    for word in _words(annotations.get(WEIGHTS, "")):
        what, slash, rest = word.partition("/")
        name, equals, number = rest.rpartition("=")
        weight = decimal(number, MOST_WEIGHT)
        if weight is None or not (slash and equals and name and what in tuple(WeightOf)):
            text = f"is none of target/NAME=W, node/NAME=W and zone/NAME=W with W from 0 to {MOST_WEIGHT}"
            read.refuse(where, f"{word[:_SHOWN]!r} {text}; whom it means weighs 1")
        elif (WeightOf(what), name) in found:
            read.refuse(where, f"{what}/{name[:_SHOWN]} is given a weight twice; the first holds")
        else:
            found[WeightOf(what), name] = weight
    return Weights(found) if found else Weights()


def _scheduler(read: Reader, annotations: Mapping[str, str]) -> Scheduler:
    named, known = annotations.get(SCHEDULER), ", ".join(NAMES)
    if named is not None:
        if named not in NAMES:
            read.refuse(_where(SCHEDULER), f"{named[:_SHOWN]!r} is none of {known}; maglev holds")
        return NAMES.get(named, Scheduler.MAGLEV)
    named = annotations.get(THEIR_SCHEDULER)
    if named is None:
        return Scheduler.MAGLEV
    if named not in NAMES or named == "maglev":
        read.refuse(_where(THEIR_SCHEDULER), f"{named[:_SHOWN]!r} is none of rr, lc, sh, dh, mh; rr holds")
        return Scheduler.RR
    return NAMES[named]


def _flags(annotations: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The flags that count, with their field."""
    name = FLAGS if FLAGS in annotations else THEIR_FLAGS
    for word in _words(annotations.get(name, "")):
        yield word, _where(name)


def _words(text: str) -> Iterator[str]:
    return filter(None, map(str.strip, text.split(",")))


def _name(scheduler: Scheduler) -> str:
    return scheduler.name.lower()


def _where(annotation: str) -> str:
    return f"metadata.annotations['{annotation}']"
