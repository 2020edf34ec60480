"""What BIRD takes of a configuration of which it refuses some sessions and prefixes."""

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, ip_address, ip_network

from agent.bgp.refused import Refused
from agent.compile.bgp.router import Router, Session, Told
from agent.model.community import NO_MARKS, Community, CommunityKind, Marks
from agent.model.name import ObjectName


def session(number: int, hold_s: int = 90) -> Session:
    local = ip_address("192.0.2.11")
    return Session(
        f"peer_{number}", f"BGPPeer p{number}", ip_address(f"192.0.2.{number}"), 64600, local, 64512, hold_s=hold_s
    )


ALL = Router(IPv4Address("192.0.2.11"), 64512, sessions=tuple(map(session, range(100, 164))))


class Bird:
    """Refuses sessions by their names and hold times, and prefixes by what they carry."""

    def __init__(self, wrong: Callable[[Session], bool], bad: Callable[[Told], bool] = lambda _: False) -> None:
        self.wrong, self.bad, self.asked = wrong, bad, 0

    def __call__(self, router: Router) -> str:
        """Why."""
        self.asked += 1
        bad = (str(one) for one in (*router.pods, *router.services, *router.aggregates) if self.bad(one))
        wrong = (one.name for one in router.sessions if self.wrong(one))
        return next((f"{one} is wrong" for one in (*bad, *wrong)), "")


def names(router: Router | None) -> list[str]:
    assert router is not None
    return [one.name for one in router.sessions]


def test_all_is_taken_by_one_question() -> None:
    bird, refused = Bird(lambda _: False), Refused()
    assert refused.taken(bird, ALL, None) is ALL
    assert (bird.asked, refused.problems("n1")) == (1, ())


def test_who_is_refused_is_left_out_and_told_of_by_its_object_and_found_by_few_questions() -> None:
    bird, refused = Bird(lambda one: one.name in {"peer_103", "peer_150"}), Refused()
    taken = refused.taken(bird, ALL, None)
    assert [one for one in names(ALL) if one not in names(taken)] == ["peer_103", "peer_150"]
    assert [(one.kind, str(one.name), one.field) for one in refused.problems("n1")] == [
        ("BGPPeer", "p103", "spec"),
        ("BGPPeer", "p150", "spec"),
    ]
    assert all("is wrong" in one.text for one in refused.problems("n1"))
    assert bird.asked < 32  # of 64 sessions

    bird.asked = 0
    more = replace(ALL, port=1179)
    assert names(refused.taken(bird, more, taken)) == names(taken)
    assert bird.asked == 1, "what is known to be refused is not asked for again"

    refused.doubt()
    bird.wrong = lambda _: False
    assert refused.taken(bird, more, taken) is more
    assert refused.problems("n1") == ()


def test_who_is_refused_keeps_the_session_that_it_has() -> None:
    bird, refused = Bird(lambda one: one.hold_s > 90), Refused()
    changed = replace(ALL, port=1179, sessions=(session(100, 91), *ALL.sessions[1:]))
    assert refused.taken(bird, changed, ALL) == replace(ALL, port=1179)


BAD = Marks((Community(CommunityKind.EXTENDED, ("rt", "70000", "70000")),))


def told(number: int, marks: Marks = NO_MARKS) -> Told:
    return Told(ip_network(f"203.0.113.{number}/32"), marks, ObjectName("default", f"web{number}"))


def test_a_prefix_that_is_refused_is_left_out_and_told_of_by_its_service_and_found_by_few_questions() -> None:
    pods = Told(ip_network("10.244.1.0/24"))
    services = tuple(map(told, range(100, 164)))
    given = replace(ALL, pods=(pods,), services=services)
    bird, refused = Bird(lambda one: one.name == "peer_103", lambda one: one.marks == BAD), Refused()
    first = refused.taken(bird, given, None)
    assert first == replace(given, sessions=(*ALL.sessions[:3], *ALL.sessions[4:]))

    marked = replace(given, pods=(replace(pods, marks=BAD),), services=(*services[:7], told(107, BAD), *services[8:]))
    bird.asked = 0
    without = (*services[:7], *services[8:])
    assert refused.taken(bird, marked, first) == replace(first, services=without), "the range is told as it was"
    assert [(one.kind, str(one.name), one.field) for one in refused.problems("n1")] == [
        ("BGPPeer", "p103", "spec"),
        ("Node", "n1", "--router"),
        ("Service", "default/web107", "metadata.annotations['sluiceway.io/bgp-communities']"),
    ]
    assert all("is wrong" in one.text for one in refused.problems("n1"))
    assert bird.asked < 40  # of 64 and one

    bird.asked = 0
    fewer = replace(marked, services=marked.services[:8])
    assert refused.taken(bird, fewer, first) == replace(first, services=services[:7])
    assert bird.asked == 1, "what is known to be refused is not asked for again"

    assert refused.taken(bird, given, first) == first
    assert [str(one.name) for one in refused.problems("n1")] == ["p103"]


def test_an_aggregate_that_is_refused_is_told_as_it_was() -> None:
    wide = Told(ip_network("10.244.0.0/16"))
    given = replace(ALL, aggregates=(wide,))
    bird, refused = Bird(lambda _: False, lambda one: one.marks == BAD), Refused()
    assert refused.taken(bird, replace(given, aggregates=(replace(wide, marks=BAD),)), given) == given
    assert [(one.kind, one.field) for one in refused.problems("n1")] == [("Node", "--router")]


def test_what_is_refused_without_any_session_is_refused_as_a_whole() -> None:
    refused = Refused()
    asked: list[Router] = []

    def ask(router: Router) -> str:
        asked.append(router)
        return "no"

    assert refused.taken(ask, ALL, None) is None
    assert (len(asked), refused.problems("n1")) == (3, ())
