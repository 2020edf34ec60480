"""What BIRD takes of a configuration of which it refuses some sessions."""

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, ip_address

from agent.bgp.refused import Refused
from agent.compile.bgp.router import Router, Session


def session(number: int, hold_s: int = 90) -> Session:
    local = ip_address("192.0.2.11")
    return Session(
        f"peer_{number}", f"BGPPeer p{number}", ip_address(f"192.0.2.{number}"), 64600, local, 64512, hold_s=hold_s
    )


ALL = Router(IPv4Address("192.0.2.11"), 64512, sessions=tuple(map(session, range(100, 164))))


class Bird:
    """Refuses sessions by their names and hold times."""

    def __init__(self, wrong: Callable[[Session], bool]) -> None:
        self.wrong, self.asked = wrong, 0

    def __call__(self, router: Router) -> str:
        """Why."""
        self.asked += 1
        return next((f"{one.name} is wrong" for one in router.sessions if self.wrong(one)), "")


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


def test_what_is_refused_without_any_session_is_refused_as_a_whole() -> None:
    refused = Refused()
    asked: list[Router] = []

    def ask(router: Router) -> str:
        asked.append(router)
        return "no"

    assert refused.taken(ask, ALL, None) is None
    assert (len(asked), refused.problems("n1")) == (2, ())
