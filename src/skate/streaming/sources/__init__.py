"""Sources, one kind a file."""
