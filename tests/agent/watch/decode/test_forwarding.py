"""What a Service's annotations say of clients outside and endpoints on other nodes, and what is wrong with them."""

import json

import pytest

from agent.model.service import Service
from agent.options.choices import Forwarding
from agent.watch.decode.decoder import Decoder
from agent.watch.decode.forwarding import FORWARDING, THEIR_DSR
from agent.watch.decode.service import SERVICE


@pytest.mark.parametrize(
    ("annotations", "said", "problems"),
    [
        pytest.param({}, None, [], id="nothing said is the nodes' own"),
        *(pytest.param({FORWARDING: str(one)}, one, [], id=one) for one in Forwarding),
        pytest.param({THEIR_DSR: "tunnel"}, Forwarding.DSR, [], id="kube-router's DSR, over IPIP there, is dsr"),
        pytest.param(
            {FORWARDING: "snat", THEIR_DSR: "tunnel"}, Forwarding.SNAT, [], id="ours goes before kube-router's"
        ),
        pytest.param({FORWARDING: "DSR"}, None, ["'DSR' is none of snat, tunnel, dsr"], id="another word"),
        pytest.param({FORWARDING: "x" * 99}, None, [f"'{'x' * 64}' is none of"], id="a long one is cut"),
        pytest.param({THEIR_DSR: "dsr"}, None, ["'dsr' is not tunnel"], id="another word of kube-router's"),
    ],
)
def test_what_is_said(annotations: dict[str, str], said: Forwarding | None, problems: list[str]) -> None:
    content = {
        "metadata": {"name": "web", "namespace": "default", "annotations": annotations},
        "spec": {"clusterIP": "10.96.0.10", "ports": [{"port": 80}]},
    }
    found = Decoder("n1").decode(SERVICE, json.dumps(content).encode())
    assert isinstance(found.value, Service)
    assert found.value.forwarding == said
    assert len(found.problems) == len(problems)
    for problem, text in zip(found.problems, problems, strict=True):
        assert text in problem.text
        assert problem.field == f"metadata.annotations['{next(iter(annotations))}']"
