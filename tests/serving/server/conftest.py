"""A server of a store with two versions that differ at a glance."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipe_seg.serving import store
from pipe_seg.serving.store import version_labels
from tests.serving.server import bright
from tests.serving.server.process import Server, serving


@pytest.fixture(scope="session")
def dark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel that claims 60 and more."""
    return bright.save(tmp_path_factory.mktemp("dark") / "saved_model", 60)


@pytest.fixture(scope="session")
def light(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel that claims 180 and more."""
    return bright.save(tmp_path_factory.mktemp("light") / "saved_model", 180)


@pytest.fixture(scope="session")
def two(tmp_path_factory: pytest.TempPathFactory, dark: Path, light: Path) -> Path:
    """A store: version 1 (dark) is stable, version 2 (light) the candidate."""
    folder = tmp_path_factory.mktemp("two") / "store"
    place = store.at(str(folder))
    bright.publish(place, dark)
    bright.publish(place, light, promote=False)
    assert version_labels.read(place) == {"stable": 1, "candidate": 2}
    return folder


@pytest.fixture(scope="session")
def server(two: Path) -> Iterator[Server]:
    with serving(two, "--engine", "tf", "--body-mib", 1) as running:
        yield running
