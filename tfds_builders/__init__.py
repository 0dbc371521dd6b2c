"""TFDS builders of the two datasets."""
