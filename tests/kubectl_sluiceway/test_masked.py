"""A report has nobody's password."""

from typing import Any

import pytest

from kubectl_sluiceway.masked import STARS, masked


def pod(**container: Any) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"containers": [container]}}}}


def of(value: dict[str, Any]) -> dict[str, Any]:
    (container,) = value["spec"]["template"]["spec"]["containers"]
    assert isinstance(container, dict)
    return container


@pytest.mark.parametrize(
    "annotation",
    ["kube-router.io/peers", "kube-router.io/peer.passwords", "kubectl.kubernetes.io/last-applied-configuration"],
)
def test_an_annotation_that_may_have_a_password_has_stars(annotation: str) -> None:
    node = {"items": [{"metadata": {"annotations": {annotation: "c2VjcmV0", "kube-router.io/node.asn": "64512"}}}]}
    shown = {annotation: STARS, "kube-router.io/node.asn": "64512"}
    assert masked(node) == {"items": [{"metadata": {"annotations": shown}}]}


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        pytest.param(
            ["--run-router=true", "--peer-router-passwords=c2VjcmV0,"],
            ["--run-router=true", f"--peer-router-passwords={STARS}"],
            id="behind its flag",
        ),
        pytest.param(
            ["--peer-router-passwords", "c2VjcmV0", "--v=1"],
            ["--peer-router-passwords", STARS, "--v=1"],
            id="as the next word",
        ),
        pytest.param(["--token", "--v=1"], ["--token", "--v=1"], id="a flag without a value"),
        pytest.param(["--iface", "eth0"], ["--iface", "eth0"], id="another word stays"),
        pytest.param(
            ["sh", "-c", "exec run --v=1 --api-token=c2VjcmV0 --password 'c2Vj cmV0' --v=2"],
            ["sh", "-c", f"exec run --v=1 --api-token={STARS} --password {STARS} --v=2"],
            id="within a shell's line",
        ),
    ],
)
def test_an_argument_that_is_a_password_has_stars(words: list[str], shown: list[str]) -> None:
    assert of(masked(pod(args=words)))["args"] == shown
    assert of(masked(pod(command=words)))["command"] == shown


def test_an_environments_values_have_stars_and_references_stay() -> None:
    given = [{"name": "PASSWORD", "value": "secret"}, {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "a"}}}]
    assert of(masked(pod(env=given)))["env"] == [{"name": "PASSWORD", "value": STARS}, given[1]]


def test_headers_of_probes_have_stars() -> None:
    given = {"httpGet": {"path": "/", "httpHeaders": [{"name": "Authorization", "value": "Bearer c2VjcmV0"}]}}
    shown = {"httpGet": {"path": "/", "httpHeaders": [{"name": "Authorization", "value": STARS}]}}
    assert of(masked(pod(livenessProbe=given)))["livenessProbe"] == shown


def test_the_rest_stays_as_it_is() -> None:
    service = {"kind": "List", "items": [{"spec": {"ports": [{"port": 80}], "clusterIPs": None}, "status": {}}]}
    assert masked(service) == service
