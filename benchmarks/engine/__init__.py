"""The engine's benchmarks: every row of Ray's microbenchmark, and what Ray's does not look at. `python -m benchmarks.engine --help`.

rows       what is measured, on whom, and what is to be reached         timing      how often and how long
actor_model   the rows for Skate and Ray: one body, two imports         pools       Pool, ProcessPoolExecutor, joblib
limits     what the machine allows: socket echo, memcpy                 processes   memory and CPU of process families
measure    one row on one peer, in a process of its own                 runner      all rows, with time-outs
report     the table and benchmarks/results/*.json
"""
