"""Whatever stands on standard input, the answer is one of the specification's, and an error leaves nothing."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.cni.error import Code
from tests.agent.cni.room import Room

COMMANDS = ("ADD", "DEL", "CHECK", "GC", "STATUS", "FROB")
KEYS = (
    "cniVersion",
    "name",
    "prevResult",
    "runtimeConfig",
    "dns",
    "cni.dev/valid-attachments",
    "ips",
    "mac",
    "address",
)
SOUND = {"cniVersion": "1.1.0", "name": "sluiceway"}
TEXT = st.text("ab/:.0\xe4", max_size=5)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.sampled_from(["1.1.0", "10.0.0.3"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | TEXT, inner, max_size=3),
    max_leaves=8,
)
CONFIGS = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4).map(lambda some: json.dumps(SOUND | some).encode())
CODES = {0, *(int(code) for code in Code)} - {int(Code.INTERNAL)}


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(COMMANDS), CONFIGS | st.binary(max_size=40))
def test_any_input_is_answered(command: str, stdin: bytes) -> None:
    with TemporaryDirectory() as folder:
        room = Room(Path(folder))
        environment = {"CNI_COMMAND": command, "CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0", "CNI_NETNS": "/n"}
        code, output = room.cni.answer(environment, stdin)
        assert code in CODES, output
        if code:
            answer = json.loads(output)
            assert (answer["code"], bool(answer["msg"])) == (code, True)
        if code or command != "ADD":
            assert room.is_empty()
