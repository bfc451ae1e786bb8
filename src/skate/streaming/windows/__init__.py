"""Windows of event time, one kind a file."""
