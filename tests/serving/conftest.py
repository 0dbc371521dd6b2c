"""Stores in a folder, in S3, behind SFTP and in MLflow; S3 and SFTP run on real servers."""

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.serving import servers

Fresh = Callable[[], str]


@pytest.fixture(scope="session")
def s3_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with servers.s3(tmp_path_factory.mktemp("s3")) as environment:
        yield environment


@pytest.fixture(scope="session")
def sftp_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    home = tmp_path_factory.mktemp("home")
    with servers.sftp(tmp_path_factory.mktemp("sftp"), home) as uri:
        yield uri, home


@pytest.fixture(params=["folder", "s3", "sftp", "mlflow"])
def fresh(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fresh:
    """Returns a function that returns the URI of a new store of one kind."""
    if request.param == "folder":
        return lambda: str(tmp_path / uuid.uuid4().hex)
    if request.param == "s3":
        for name, value in request.getfixturevalue("s3_environment").items():
            monkeypatch.setenv(name, value)
        return lambda: f"s3://{servers.BUCKET}/{uuid.uuid4().hex}"
    if request.param == "mlflow":
        return _registries(tmp_path, monkeypatch)
    uri, home = request.getfixturevalue("sftp_server")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    assert Path(os.path.expanduser("~")) == home
    return lambda: f"{uri}/{uuid.uuid4().hex}"


def _registries(location: Path, monkeypatch: pytest.MonkeyPatch) -> Fresh:
    """Returns a function that selects a new MLflow registry in a folder; the client API is the same."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")

    def registry() -> str:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file://{location}/{uuid.uuid4().hex}")
        return "mlflow:"

    return registry


@pytest.fixture
def saved_model(tmp_path: Path) -> Path:
    """A folder that looks like a SavedModel."""
    folder = tmp_path / "saved_model"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables" / "variables.index").write_bytes(b"index")
    return folder
