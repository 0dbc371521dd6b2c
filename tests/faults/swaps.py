"""Ten ways to break a version that was published whole, and a label moved by a careless hand."""

import json
import os
from collections.abc import Callable
from pathlib import Path

from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from pipe_seg import disk


def point(store: Path, number: int) -> None:
    """Call a version stable without looking at it, as nobody should."""
    path = store / "models.config"
    config = text_format.Parse(path.read_text(), ModelServerConfig())
    (entry,) = config.model_config_list.config
    entry.version_labels["stable"] = number
    entry.version_labels.pop("previous", None)
    disk.write_text(path, text_format.MessageToString(config))


def flip(version: Path) -> None:
    path = version / "saved_model.pb"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(version: Path) -> None:
    os.truncate(version / "saved_model.pb", 1000)


def headless(version: Path) -> None:
    (version / "saved_model.pb").unlink()


def nameless(version: Path) -> None:
    (version / "manifest.json").unlink()


def garbled(version: Path) -> None:
    (version / "manifest.json").write_text("{")


def crowded(version: Path) -> None:
    (version / "variables" / "more").write_bytes(b"x")


def linked(version: Path) -> None:
    aside = (version / "saved_model.pb").rename(version.parent / f".aside-{version.name}")
    (version / "saved_model.pb").symlink_to(aside)


def cold(version: Path) -> None:
    """Without warm-up requests, by the book."""
    (version / "assets.extra" / "tf_serving_warmup_requests").unlink()
    _vouch(version)


def empty(version: Path) -> None:
    """An empty graph, by the book."""
    (version / "saved_model.pb").write_bytes(b"")
    _vouch(version)


def mute(version: Path) -> None:
    """A manifest that does not say how the model is asked, by the book."""
    _vouch(version, model={})


def _vouch(version: Path, **changed: object) -> None:
    """Write a manifest that fits what lies there now."""
    from pipe_seg.serving import store

    path = version / "manifest.json"
    told = json.loads(path.read_text()) | changed
    files = disk.digest_tree(version)
    files.pop("manifest.json")
    told["files"] = files
    told.pop("digest")
    path.write_text(disk.as_json(told | {"digest": store._digest(told)}))


BREAKAGES: tuple[Callable[[Path], None], ...] = (
    flip,
    cut,
    headless,
    nameless,
    garbled,
    crowded,
    linked,
    cold,
    empty,
    mute,
)
