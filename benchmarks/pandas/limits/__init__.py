"""The same questions written by hand in Polars and in DuckDB's SQL: the limit that a rewrite reaches on this machine."""
