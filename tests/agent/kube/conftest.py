"""What the client's tests share."""

from collections.abc import Iterator

import pytest

from tests.agent.kube.tls_server import Api, Authority


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> tuple[Authority, Authority]:
    folder = tmp_path_factory.mktemp("authorities")
    return Authority(folder, "old"), Authority(folder, "new")


@pytest.fixture
def api(authorities: tuple[Authority, Authority]) -> Iterator[Api]:
    api = Api(authorities[0], authorities[0])
    yield api
    api.stop()
