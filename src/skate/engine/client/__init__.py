"""A process's own side of the engine: what it owns, what it waits for, what it has sent. Drivers and workers run the same code."""
