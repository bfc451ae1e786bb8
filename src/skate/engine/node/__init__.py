"""The node process: one per machine, single-threaded. It asks the pure machines (scheduler, directory) and does what they say.

Read `shell.py` first: it is the map of everything here. A worker's crash is handled in `worker_processes.py` and
`Shell.on_worker_exit`.
"""
