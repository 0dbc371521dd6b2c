"""The TFDS dataset ``ps``."""

from tfds_builders.ps.ps_dataset_builder import Builder

__all__ = ["Builder"]
