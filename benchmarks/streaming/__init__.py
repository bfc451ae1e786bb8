"""What streams cost, beside what people use today: `python -m benchmarks.streaming`."""
