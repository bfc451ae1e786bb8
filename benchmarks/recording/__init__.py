"""What recording costs: `python -m benchmarks.recording`."""
