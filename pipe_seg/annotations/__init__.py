"""Readers of what annotation tools write, all into one typed ``schema.Annotation``."""
