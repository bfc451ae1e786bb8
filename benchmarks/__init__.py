"""Benchmarks: the same job on Skate and on its peers, in one run on one machine."""
