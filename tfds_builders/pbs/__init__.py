"""The TFDS dataset ``pbs``."""

from tfds_builders.pbs.pbs_dataset_builder import Builder

__all__ = ["Builder"]
