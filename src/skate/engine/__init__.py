"""INTERNAL: the engine of one machine. Nothing outside `skate.backends` imports it."""
