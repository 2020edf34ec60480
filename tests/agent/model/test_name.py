"""Of an object's mistakes the first are told, and how many more there are."""

from agent.model.name import MOST_TOLD, ObjectName, Problem, few


def problems(name: str, count: int, kind: str = "Service") -> list[Problem]:
    return [Problem(kind, ObjectName("default", name), f"spec.externalIPs[{at}]", "is none") for at in range(count)]


def test_as_many_as_people_read_are_all_told() -> None:
    found = problems("a", MOST_TOLD)
    assert few(found) == tuple(found)
    assert few(()) == ()


def test_of_more_the_first_are_told_and_how_many_there_are() -> None:
    found = problems("a", MOST_TOLD + 7)
    *told, more = few(found)
    assert told == found[:MOST_TOLD]
    assert (str(more.name), more.field, more.text.split()[0]) == ("default/a", "", "7")


def test_each_object_has_its_own() -> None:
    many, one, other = problems("a", 99), problems("b", 1), problems("a", 1, "EndpointSlice")
    found = few([*many, *one, *other])
    assert {*one, *other} < {*found}
    assert len(found) == MOST_TOLD + 1 + 2
