"""Where artifacts stand that several runs share: each once, under its key."""

import os
import shutil
import time
from collections.abc import Container
from pathlib import Path

from pipe_seg import disk
from pipe_seg.artifacts import RECORD


class ArtifactStore:
    """Artifacts below a TFDS folder, each made once: ``<data_dir>/pipe_seg/<component>/<key>``.

    A run that uses one is noted beside it, so that what no run refers to can be removed.
    """

    def __init__(self, data_dir: str | None) -> None:
        """Uses the TFDS folder ``data_dir``, else that of TFDS_DATA_DIR, else ``~/tensorflow_datasets``."""
        self.data_dir = Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()
        self.root = self.data_dir / "pipe_seg"

    def path(self, component: str, key: str) -> Path:
        """Returns where the artifact of this key stands, or will."""
        return self.root / component / key

    def digest_cache(self) -> disk.DigestCache:
        """Returns the cache of file digests that is kept with the artifacts."""
        return disk.DigestCache(self.root / "digests.sqlite")

    def refer(self, artifact: Path, run: Path) -> None:
        """Notes that a run uses an artifact of this store.

        Raises:
            MachineError: It cannot be written.
        """
        notes = self.root / "references" / artifact.name
        with disk.environment(notes):
            notes.parent.mkdir(parents=True, exist_ok=True)
            with notes.open("a", encoding="utf-8") as file:
                file.write(f"{run.absolute()}\n")

    def unused(self, keys: Container[str], spare_s: float = 3600) -> list[Path]:
        """Returns the artifacts that no existing run refers to, sorted.

        Args:
            keys: Further keys that are in use.
            spare_s: Artifacts younger than this stay: a run that starts now may be about to use them.
        """
        made = (path.parent for path in self.root.glob(f"*/*/{RECORD}"))
        return sorted(path for path in made if path.name not in keys and self._is_unused(path, spare_s))

    def _is_unused(self, artifact: Path, spare_s: float) -> bool:
        if time.time() - artifact.stat().st_mtime < spare_s:
            return False
        try:
            lines = (self.root / "references" / artifact.name).read_text("utf-8").splitlines()
        except OSError:
            return True
        return not any((Path(line) / "run.json").is_file() for line in lines)

    def remove(self, artifact: Path) -> None:
        """Removes an artifact and the notes on who used it; its name goes first."""
        gone = artifact.with_name(f".{artifact.name}.{os.getpid()}-removed{disk.PARTIAL}")
        with disk.environment(artifact):
            os.rename(artifact, gone)
            shutil.rmtree(gone)
            (self.root / "references" / artifact.name).unlink(missing_ok=True)
