"""A server of a store with two versions whose predictions differ."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipe_seg.serving import store
from pipe_seg.serving.store import version_labels
from tests.serving.server import bright
from tests.serving.server.process import Server, serving


@pytest.fixture(scope="session")
def dark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel that predicts grey levels of 60 and above as positive."""
    return bright.save(tmp_path_factory.mktemp("dark") / "saved_model", 60)


@pytest.fixture(scope="session")
def light(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel that predicts grey levels of 180 and above as positive."""
    return bright.save(tmp_path_factory.mktemp("light") / "saved_model", 180)


@pytest.fixture(scope="session")
def two(tmp_path_factory: pytest.TempPathFactory, dark: Path, light: Path) -> Path:
    """A store: version 1 (dark) is stable, version 2 (light) the candidate."""
    folder = tmp_path_factory.mktemp("two") / "store"
    location = store.at(str(folder))
    bright.publish(location, dark)
    bright.publish(location, light, promote=False)
    assert version_labels.read(location) == {"stable": 1, "candidate": 2}
    return folder


@pytest.fixture(scope="session")
def server(two: Path) -> Iterator[Server]:
    with serving(two, "--engine", "tf", "--body-mib", 1) as running:
        yield running
