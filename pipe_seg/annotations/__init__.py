"""Readers and writers of annotation formats; each reader returns ``schema.Annotation``."""
