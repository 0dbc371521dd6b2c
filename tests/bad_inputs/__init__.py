"""Inputs that are wrong on purpose, made by a seeded script: every family a user has handed to such a tool."""
