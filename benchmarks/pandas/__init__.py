"""Whole programs and single operations on `skate.pandas`, beside pandas, its other drop-ins, and Polars and DuckDB written by hand.

`python -m benchmarks.pandas [SUITE …] [--peers …] [--quick]`. The text of a program is the same for every library that has pandas' API: it gets
the module as `pd`. Polars and DuckDB are the limit: what a user reaches who rewrites the program.
"""
