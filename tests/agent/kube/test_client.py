"""The one client, against a server with certificates: what was exchanged of credentials is read again."""

from pathlib import Path
from threading import Thread

import pytest
from kubernetes.client import ApiClient
from kubernetes.config import incluster_config

from agent.kube.client import TROUBLE, Client, Refused, connect
from tests.agent.kube.tls_server import TOGETHER, Api, Authority, kubeconfig

VERSION = "/version"


def code(client: Client, path: str = VERSION) -> int:
    response = client.get(path, (), 5.0)
    response.read()
    return response.status


def until_it_works(client: Client, attempts: int = 4) -> int:
    """The first attempt that works."""
    for attempt in range(1, attempts + 1):
        try:
            if code(client) == 200:
                return attempt
        except TROUBLE:
            continue
    raise AssertionError("it never works")


def test_an_authority_that_was_exchanged_is_believed_as_soon_as_the_configuration_says_so(
    api: Api, authorities: tuple[Authority, Authority], tmp_path: Path
) -> None:
    old, new = authorities
    path = tmp_path / "kubeconfig"
    mine = old.certificate("client")
    kubeconfig(path, api.server_port, old, mine)
    client = Client(lambda: connect(path))
    assert code(client) == 200
    api.serve_as(new, old)
    with pytest.raises(TROUBLE):
        code(client)
    kubeconfig(path, api.server_port, new, mine)
    assert until_it_works(client) <= 2


def test_a_client_certificate_that_was_exchanged_is_shown_as_soon_as_the_old_one_is_refused(
    api: Api, authorities: tuple[Authority, Authority], tmp_path: Path
) -> None:
    old, new = authorities
    path = tmp_path / "kubeconfig"
    kubeconfig(path, api.server_port, old, old.certificate("one"))
    client = Client(lambda: connect(path))
    assert code(client) == 200
    assert "one" in api.clients.get()
    api.serve_as(old, new)
    kubeconfig(path, api.server_port, old, new.certificate("two"))
    assert until_it_works(client) <= 2
    assert "two" in api.clients.get()


def test_a_pods_token_and_authority_that_were_exchanged_are_read_from_their_files(
    api: Api, authorities: tuple[Authority, Authority], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the kubelet writes them anew: the token each hour, the authority when it is rotated."""
    old, new = authorities
    token, authority = tmp_path / "token", tmp_path / "ca.crt"
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(authority))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(api.server_port))
    token.write_text("first")
    authority.write_text(old.file.read_text())
    api.serve_as(old, None)
    api.allowed = "bearer first"
    client = Client(lambda: connect(None))
    assert code(client) == 200
    api.allowed = "bearer second"
    token.write_text("second")
    assert until_it_works(client) <= 2
    api.serve_as(new, None)
    with pytest.raises(TROUBLE):
        code(client)
    authority.write_text(new.file.read_text())
    assert until_it_works(client) <= 2


def test_the_configuration_is_read_once_for_all_who_were_refused_at_a_time(
    api: Api, authorities: tuple[Authority, Authority], tmp_path: Path
) -> None:
    old, _ = authorities
    path = tmp_path / "kubeconfig"
    kubeconfig(path, api.server_port, old, old.certificate("client"))
    read = []

    def counted() -> ApiClient:
        read.append(1)
        return connect(path)

    client = Client(counted)
    api.allowed = "nobody"
    for reads in (1, 2):
        threads = [Thread(target=code, args=(client, "/together")) for _ in range(TOGETHER)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(read) == reads


def test_a_refusal_says_what_was_asked_and_when_to_ask_again(
    api: Api, authorities: tuple[Authority, Authority], tmp_path: Path
) -> None:
    old, _ = authorities
    path = tmp_path / "kubeconfig"
    kubeconfig(path, api.server_port, old, old.certificate("client"))
    client = Client(lambda: connect(path))
    with pytest.raises(Refused, match="POST /events: HTTP 429: busy") as found:
        client.send("POST", "/events", {}, "application/json", 5.0)
    assert found.value.refusal.retry_after_s == 7


def test_a_server_that_has_moved_is_found_as_soon_as_the_configuration_says_so(
    api: Api, authorities: tuple[Authority, Authority], tmp_path: Path
) -> None:
    old, _ = authorities
    path = tmp_path / "kubeconfig"
    mine = old.certificate("client")
    before = Api(old, old)
    kubeconfig(path, before.server_port, old, mine)
    client = Client(lambda: connect(path))
    assert code(client) == 200
    before.stop()
    kubeconfig(path, api.server_port, old, mine)
    assert until_it_works(client) <= 2
