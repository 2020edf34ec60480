"""Denied ranges are the node's records, the identical ones while the file says the same."""

from dataclasses import replace

from agent.compile.denied import OWNER
from agent.compile.desired import Desired, desired
from agent.compile.settings import Settings
from agent.model.denied import Denied
from maps import abi
from tests.agent.compile.objects import cluster

SETTINGS = Settings("n1")
KEY = bytes(abi.PrefixKey.SIZE)
LINE = abi.DeniedPrefix(1).pack()
DENIED = Denied(KEY, LINE)


def test_they_come_stay_and_go() -> None:
    nobody = desired(cluster(), SETTINGS, Desired())
    assert OWNER not in nobody.owners
    some = desired(replace(cluster(), denied=DENIED), SETTINGS, nobody)
    assert dict(some.owners[OWNER].items()) == {"denied_prefixes": {KEY: LINE}}
    again = desired(replace(some.source, problems=()), SETTINGS, some)
    assert again.owners[OWNER] is some.owners[OWNER]
    assert OWNER not in again.changed
    gone = desired(replace(again.source, denied=Denied()), SETTINGS, again)
    assert OWNER in gone.changed
    assert OWNER not in gone.owners
