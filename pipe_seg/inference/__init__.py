"""Inference: the exported graph, its signatures, the runtimes and the scoring of predictions."""
