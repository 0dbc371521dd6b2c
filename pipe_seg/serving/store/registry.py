"""A store in an MLflow model registry: the SavedModel is a run's artifact, a version points to it, labels are aliases.

Only MLflow's client is used, and nothing of a registry is ever unpickled: files are fetched, compared with the
manifest, and read as a SavedModel. ``MLFLOW_TRACKING_URI`` says where it is; credentials are what MLflow's own tools
take from the environment. The registry gives out numbers, so no two uploads share one; aliases move one by one,
``previous`` before ``stable``.
"""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from pipe_seg.errors import ConfigError, MachineError, Problem
from pipe_seg.schema import MODEL_NAME
from pipe_seg.serving.store.location import StoreLocation

PREFIX = "mlflow:"
READY = "READY"
THEIRS = ("mlflow", "requests", "urllib3")
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
}


class Registry(StoreLocation):
    """The model ``pipe_seg`` of the registry that ``MLFLOW_TRACKING_URI`` names."""

    def __init__(self) -> None:
        """Connect.

        Raises:
            ConfigError: MLflow's client is not installed, or nobody said where the registry is.
            MachineError: it cannot be reached.
        """
        self.name, self.base = PREFIX, f"models:/{MODEL_NAME}"
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        try:
            from mlflow import MlflowClient
        except ImportError as error:
            cure = "pip install 'pipe-seg[mlflow]'"
            raise ConfigError(Problem(PREFIX, "its package is not installed", expected=cure)) from error
        if not os.environ.get("MLFLOW_TRACKING_URI"):
            cure = "MLFLOW_TRACKING_URI in the environment"
            raise ConfigError(Problem(PREFIX, "nobody said where the registry is", expected=cure))
        with self._reached():
            self._client: Any = MlflowClient()

    def named(self, number: int) -> str:
        """See ``StoreLocation``."""
        return f"{self.base}/{number}"

    def versions(self) -> list[int]:
        """See ``StoreLocation``."""
        with self._reached():
            return sorted(self._runs())

    def text(self, path: str) -> bytes | None:
        """See ``StoreLocation``."""
        model, _, rest = path.partition("/")
        number, _, name = rest.partition("/")
        with self._reached():
            run = self._runs().get(int(number)) if model == MODEL_NAME and number.isdigit() else None
            files = self._client.list_artifacts(run, MODEL_NAME) if run else []
            if name not in {Path(file.path).name for file in files}:
                return None
            with tempfile.TemporaryDirectory() as scratch:
                fetched = self._client.download_artifacts(run, f"{MODEL_NAME}/{name}", scratch)
                return Path(fetched).read_bytes()

    @contextmanager
    def staged(self, saved_model: Path, texts: Mapping[str, str]) -> Iterator[str]:
        """See ``StoreLocation``: a run of its own, which is deleted if no version came to point to it."""
        with self._reached():
            run = self._client.create_run(self._experiment()).info.run_id
        try:
            with self._reached():
                self._client.log_artifacts(run, str(saved_model), MODEL_NAME)
                for name, text in texts.items():
                    self._client.log_text(run, text, f"{MODEL_NAME}/{name}")
            yield run
        finally:
            with self._reached():
                claimed = run in self._runs().values()
                self._client.set_terminated(run, "FINISHED" if claimed else "FAILED")
                if not claimed:
                    self._client.delete_run(run)

    @contextmanager
    def fetched(self, name: str) -> Iterator[Path]:
        """See ``StoreLocation``."""
        with tempfile.TemporaryDirectory() as scratch:
            with self._reached():
                run = self._run(int(name)) if name.isdigit() and len(name) < 19 else name
                folder = Path(self._client.download_artifacts(run, MODEL_NAME, scratch))
            (folder / "variables").mkdir(exist_ok=True)  # empty, which artifacts cannot say
            yield folder

    def claim(self, staging: str) -> int:
        """See ``StoreLocation``."""
        with self._reached():
            self._make_model()
            source = f"{self._client.get_run(staging).info.artifact_uri}/{MODEL_NAME}"
            return int(self._client.create_model_version(MODEL_NAME, source, staging).version)

    def withdraw(self, number: int) -> None:
        """See ``StoreLocation``."""
        with self._reached():
            run = self._run(number)
            self._client.delete_model_version(MODEL_NAME, str(number))
            self._client.delete_run(run)

    def sweep(self) -> None:
        """See ``StoreLocation``: MLflow's own ``mlflow gc`` removes what was deleted."""

    def held(self) -> AbstractContextManager[None]:
        """See ``StoreLocation``: nothing holds here."""
        return nullcontext()

    def labels(self) -> tuple[str | None, int]:
        """See ``StoreLocation``: aliases, told as TF Serving's configuration would."""
        with self._reached():
            aliases = self._aliases()
        config = ModelServerConfig()
        entry = config.model_config_list.config.add(name=MODEL_NAME, base_path=self.base, model_platform="tensorflow")
        entry.version_labels.update(aliases)
        entry.model_version_policy.specific.versions.extend(sorted(set(aliases.values())))
        return text_format.MessageToString(config), 0

    def relabel(self, text: str, revision: int) -> bool:
        """See ``StoreLocation``."""
        (entry,) = text_format.Parse(text, ModelServerConfig()).model_config_list.config
        wanted = dict(entry.version_labels)
        with self._reached():
            before = self._aliases()
            for name in sorted(wanted):  # previous comes before stable
                if before.get(name) != wanted[name]:
                    self._client.set_registered_model_alias(MODEL_NAME, name, str(wanted[name]))
            for name in set(before) - set(wanted):
                self._client.delete_registered_model_alias(MODEL_NAME, name)
        return True

    def _aliases(self) -> dict[str, int]:
        found = self._client.search_registered_models(f"name='{MODEL_NAME}'")
        return {name: int(number) for model in found for name, number in model.aliases.items()}

    def _runs(self) -> dict[int, str]:
        """Give the run that each whole version of ours points to."""
        found: dict[int, str] = {}
        token = None
        while True:
            page = self._client.search_model_versions(f"name='{MODEL_NAME}'", page_token=token)
            found |= {int(v.version): v.run_id for v in page if v.run_id and v.status == READY}
            token = page.token
            if not token:
                return found

    def _run(self, number: int) -> str:
        """Give the run that a version points to.

        Raises:
            ConfigError: there is no whole version of that number.
        """
        runs = self._runs()
        if number not in runs:
            raise ConfigError(Problem(self.named(number), "no whole version of ours"))
        return runs[number]

    def _experiment(self) -> str:
        """Give the experiment that our runs belong to, made by whoever is first."""
        if not self._client.get_experiment_by_name(MODEL_NAME):
            _unless_there(self._client.create_experiment)
        return str(self._client.get_experiment_by_name(MODEL_NAME).experiment_id)

    def _make_model(self) -> None:
        if not self._client.search_registered_models(f"name='{MODEL_NAME}'"):
            _unless_there(self._client.create_registered_model)

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Tell of what the registry or the network refuses, without what may hold a secret."""
        try:
            yield
        except Exception as error:
            if not isinstance(error, OSError) and type(error).__module__.partition(".")[0] not in THEIRS:
                raise
            cure = "a registry at MLFLOW_TRACKING_URI, and credentials for it in the environment"
            raise MachineError(Problem(PREFIX, f"cannot be used: {type(error).__name__}", expected=cure)) from error


def _unless_there(create: Callable[[str], Any]) -> None:
    """Create what has our model's name; somebody else may have been quicker."""
    from mlflow.exceptions import MlflowException

    try:
        create(MODEL_NAME)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
