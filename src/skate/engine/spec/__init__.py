"""The engine's vocabulary: ids, resources, wire messages, scheduler events and commands. Pure data, no I/O."""
