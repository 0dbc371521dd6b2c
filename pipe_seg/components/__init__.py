"""The steps of the pipeline, under TFX's names: one module a step, each with a ``run``."""
