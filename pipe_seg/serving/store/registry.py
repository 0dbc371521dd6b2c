"""A store in an MLflow model registry: SavedModels are run artifacts, labels are aliases.

This uses MLflow's client only and never unpickles files: it downloads them, compares them with the manifest, and
reads them as a SavedModel. `MLFLOW_TRACKING_URI` names the registry; MLflow reads credentials from the environment.
The registry assigns the version numbers. Aliases move one by one, `previous` before `stable`.
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
CLIENT_MODULES = ("mlflow", "requests", "urllib3")
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
}


class Registry(StoreLocation):
    """The model `pipe_seg` of the registry that `MLFLOW_TRACKING_URI` names.

    Raises:
        ConfigError: MLflow's client is not installed, or `MLFLOW_TRACKING_URI` is not set.
        MachineError: The registry cannot be reached.
    """

    def __init__(self) -> None:
        self.name, self.base = PREFIX, f"models:/{MODEL_NAME}"
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        try:
            from mlflow import MlflowClient
        except ImportError as error:
            cure = "pip install 'pipe-seg[mlflow]'"
            raise ConfigError(Problem(PREFIX, "MLflow is not installed", expected=cure)) from error
        if not os.environ.get("MLFLOW_TRACKING_URI"):
            cure = "MLFLOW_TRACKING_URI in the environment"
            raise ConfigError(Problem(PREFIX, "the registry's address is not set", expected=cure))
        with self._translated_errors():
            self._client: Any = MlflowClient()

    def named(self, number: int) -> str:
        """See `StoreLocation`."""
        return f"{self.base}/{number}"

    def versions(self) -> list[int]:
        """See `StoreLocation`."""
        with self._translated_errors():
            return sorted(self._runs())

    def text(self, path: str) -> bytes | None:
        """See `StoreLocation`."""
        model, _, rest = path.partition("/")
        number, _, name = rest.partition("/")
        with self._translated_errors():
            run = self._runs().get(int(number)) if model == MODEL_NAME and number.isdigit() else None
            files = self._client.list_artifacts(run, MODEL_NAME) if run else []
            if name not in {Path(file.path).name for file in files}:
                return None
            with tempfile.TemporaryDirectory() as scratch:
                fetched = self._client.download_artifacts(run, f"{MODEL_NAME}/{name}", scratch)
                return Path(fetched).read_bytes()

    @contextmanager
    def staged(self, saved_model: Path, texts: Mapping[str, str]) -> Iterator[str]:
        """See `StoreLocation`; the copy is a new run, which is deleted if no version points to it."""
        with self._translated_errors():
            run = self._client.create_run(self._experiment()).info.run_id
        try:
            with self._translated_errors():
                self._client.log_artifacts(run, str(saved_model), MODEL_NAME)
                for name, text in texts.items():
                    self._client.log_text(run, text, f"{MODEL_NAME}/{name}")
            yield run
        finally:
            with self._translated_errors():
                committed = run in self._runs().values()
                self._client.set_terminated(run, "FINISHED" if committed else "FAILED")
                if not committed:
                    self._client.delete_run(run)

    @contextmanager
    def fetched(self, name: str) -> Iterator[Path]:
        """See `StoreLocation`."""
        with tempfile.TemporaryDirectory() as scratch:
            with self._translated_errors():
                run = self._run(int(name)) if name.isdigit() and len(name) < 19 else name
                folder = Path(self._client.download_artifacts(run, MODEL_NAME, scratch))
            (folder / "variables").mkdir(exist_ok=True)  # artifacts have no empty folders
            yield folder

    def commit(self, staging: str) -> int:
        """See `StoreLocation`."""
        with self._translated_errors():
            self._make_model()
            source = f"{self._client.get_run(staging).info.artifact_uri}/{MODEL_NAME}"
            return int(self._client.create_model_version(MODEL_NAME, source, staging).version)

    def delete(self, number: int) -> None:
        """See `StoreLocation`."""
        with self._translated_errors():
            run = self._run(number)
            self._client.delete_model_version(MODEL_NAME, str(number))
            self._client.delete_run(run)

    def sweep(self) -> None:
        """See `StoreLocation`; `mlflow gc` removes deleted runs."""

    def locked(self) -> AbstractContextManager[None]:
        """See `StoreLocation`; a registry has no locks."""
        return nullcontext()

    def read_labels(self) -> tuple[str | None, int]:
        """See `StoreLocation`; returns the aliases in the format of `models.config`."""
        with self._translated_errors():
            aliases = self._aliases()
        config = ModelServerConfig()
        entry = config.model_config_list.config.add(name=MODEL_NAME, base_path=self.base, model_platform="tensorflow")
        entry.version_labels.update(aliases)
        entry.model_version_policy.specific.versions.extend(sorted(set(aliases.values())))
        return text_format.MessageToString(config), 0

    def write_labels(self, text: str, revision: int) -> bool:
        """See `StoreLocation`."""
        (entry,) = text_format.Parse(text, ModelServerConfig()).model_config_list.config
        wanted = dict(entry.version_labels)
        with self._translated_errors():
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
        """Returns the run that each complete version points to."""
        found: dict[int, str] = {}
        token = None
        while True:
            page = self._client.search_model_versions(f"name='{MODEL_NAME}'", page_token=token)
            found |= {int(v.version): v.run_id for v in page if v.run_id and v.status == READY}
            token = page.token
            if not token:
                return found

    def _run(self, number: int) -> str:
        """Returns the run that a version points to; a missing version raises ConfigError."""
        runs = self._runs()
        if number not in runs:
            raise ConfigError(Problem(self.named(number), "no such version, or it is not ready"))
        return runs[number]

    def _experiment(self) -> str:
        """Returns the id of the experiment `pipe_seg`, which is created if it is missing."""
        if not self._client.get_experiment_by_name(MODEL_NAME):
            _create(self._client.create_experiment)
        return str(self._client.get_experiment_by_name(MODEL_NAME).experiment_id)

    def _make_model(self) -> None:
        if not self._client.search_registered_models(f"name='{MODEL_NAME}'"):
            _create(self._client.create_registered_model)

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        """Turns errors of the registry or the network into MachineError, without text that may hold a secret."""
        try:
            yield
        except Exception as error:
            if not isinstance(error, OSError) and type(error).__module__.partition(".")[0] not in CLIENT_MODULES:
                raise
            cure = "a registry at MLFLOW_TRACKING_URI, and credentials for it in the environment"
            raise MachineError(Problem(PREFIX, f"cannot be used: {type(error).__name__}", expected=cure)) from error


def _create(create: Callable[[str], Any]) -> None:
    """Creates the entry `pipe_seg`; another process may have created it first."""
    from mlflow.exceptions import MlflowException

    try:
        create(MODEL_NAME)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
