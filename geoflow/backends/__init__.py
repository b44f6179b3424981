"""Backends: how one is found and loaded, what it must keep to, its licence and its weights."""
