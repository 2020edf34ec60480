"""Where an import reads objects: files as ``kubectl get -o yaml`` writes them, or the API server.

The shell of ``migrate``: all else there is pure.
"""

from collections.abc import Iterable, Iterator
from http import HTTPStatus
from pathlib import Path

import msgspec

from agent.errors import ConfigError
from agent.kube.client import TROUBLE, Client
from agent.migrate.objects import Objects
from agent.options.yaml_text import YamlError, read_yaml_documents

SUFFIXES = (".yaml", ".yml", ".json")
READ_S = 30.0


def from_files(paths: Iterable[Path]) -> Objects:
    """The objects of files, and of the YAML and JSON files of folders; ``-`` is no name here.

    Raises:
        ConfigError: one cannot be read, or holds something else.
    """
    documents: list[object] = []
    for path in paths:
        documents += [document for file in _files(path) for document in _documents(file)]
    return _objects("--from", documents)


def from_api(client: Client, paths: Iterable[str]) -> Objects:
    """The lists at these paths of the API; a resource that the server does not have is empty.

    Raises:
        ConfigError: there is no answer, or a list is not granted.
    """
    return _objects("the API server's lists", [document for path in paths for document in _list(client, path)])


def _objects(whose: str, documents: list[object]) -> Objects:
    try:
        return Objects.of(documents)
    except ValueError as error:
        raise ConfigError(f"{whose}: {error}") from error


def _list(client: Client, path: str) -> Iterator[object]:
    try:
        response = client.get(path, (), READ_S)
        body: bytes = response.read()
    except TROUBLE as error:
        raise ConfigError(f"{path}: {' '.join(str(error).split())}") from error
    if response.status == HTTPStatus.NOT_FOUND:
        return
    if response.status != HTTPStatus.OK:
        text = body[:200].decode(errors="replace")
        raise ConfigError(
            f"{path}: the API server answers {response.status}: {text}; give a kubeconfig that may list it"
        )
    try:
        yield msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: the answer is no list: {error}") from error


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES)
    if not found:
        raise ConfigError(f"--from {path}: has no file that ends in {', '.join(SUFFIXES)}")
    return found


def _documents(file: Path) -> list[object]:
    try:
        return read_yaml_documents(file.read_bytes())
    except (OSError, YamlError) as error:
        raise ConfigError(f"--from: cannot read {file}: {error}") from error
