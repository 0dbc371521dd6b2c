"""Serving: a versioned model store and a server for it."""
