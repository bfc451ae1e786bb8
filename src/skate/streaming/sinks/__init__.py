"""Sinks, one kind a file."""
