"""TensorFlow without its chatter: results on stdout, our own messages on stderr, nothing else."""

import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


def tensorflow() -> None:
    """Imports TensorFlow and touches its devices with the banner of its C++ side held back.

    If that fails, what was held back is shown.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    warnings.filterwarnings("ignore", module="tensorflow.*")
    logging.getLogger("absl").addFilter(_is_news)
    with _stderr_held_back():
        import tensorflow as tf

        tf.config.list_physical_devices("GPU")
        tf.get_logger().setLevel("ERROR")


def _is_news(record: logging.LogRecord) -> bool:
    """Drops a deprecation that TensorFlow Datasets warns of in its own code."""
    return "`FeatureConnector.dtype` is deprecated" not in record.getMessage()


@contextmanager
def _stderr_held_back() -> Iterator[None]:
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(kept, 2)
            file.seek(0)
            sys.stderr.write(file.read().decode("utf-8", "replace"))
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
