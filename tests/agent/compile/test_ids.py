"""Ids stay while their owner does, survive a restart, and are not given again at once."""

from agent.compile.desired import Desired, desired
from agent.compile.ids import LAST_SLOT, BackendName, IdBook, Ids, SetIds, columns, recovered
from agent.reconcile.plans import contents
from tests.agent.compile.objects import FRESH, SETTINGS, cluster, endpoint, piece, service

A, B, C = ((bytes(15) + bytes([i]), 80) for i in range(3))


def slots(book: IdBook, *names: BackendName) -> dict[BackendName, int]:
    return dict(book.slots("web", *columns(names)).slots)


def test_a_backend_keeps_its_slot() -> None:
    book = IdBook(Ids())
    assert slots(book, A, B) == {A: 0, B: 1}
    assert slots(book, B, C) == {B: 1, C: 2}


def test_a_slot_that_became_free_is_given_after_all_the_others() -> None:
    book = IdBook(Ids({"web": SetIds.of(1, {A: LAST_SLOT - 1, B: 1}, LAST_SLOT)}, 2))
    assert slots(book, A, B, C) == {A: LAST_SLOT - 1, B: 1, C: LAST_SLOT}
    assert slots(book, B, C, A) == {B: 1, C: LAST_SLOT, A: LAST_SLOT - 1}
    assert slots(book, B, (bytes(16), 443)) == {B: 1, (bytes(16), 443): 0}


def test_a_set_that_is_gone_leaves_its_id_unused() -> None:
    book = IdBook(Ids())
    first = book.slots("web", *columns([A])).set_id
    book.drop(["web"])
    assert book.slots("web", *columns([A])).set_id > first


def test_the_book_leaves_the_ids_it_was_given_alone() -> None:
    ids = Ids()
    book = IdBook(ids)
    book.slots("web", *columns([A]))
    assert not ids.sets
    assert book.ids().sets.keys() == {"web"}


def test_what_the_maps_hold_gives_the_same_ids_again() -> None:
    objects = service(), piece("web", endpoint("10.0.0.1"), endpoint("10.0.0.2"))
    first = desired(cluster(*objects), SETTINGS, FRESH)
    second = desired(cluster(service(), piece("web", endpoint("10.0.0.2"))), SETTINGS, first)
    held = contents(second.owners.values())
    again = Desired(ids=recovered(held["backend_sets"], held["backends"], {}))
    assert again.ids.sets["default/web:http/TCP/IPv4/all"].slots == {(bytes(10) + b"\xff\xff\x0a\0\0\2", 8080): 1}
    assert desired(second.source, SETTINGS, again).owners == second.owners


def test_a_set_without_a_label_never_lends_its_id() -> None:
    backends = {b"\x09\0\0\0\0\0\0\0": bytes(20)}
    assert recovered({}, backends, {}) == Ids({}, 10)
