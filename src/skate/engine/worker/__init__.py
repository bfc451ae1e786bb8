"""The worker process: receives calls, runs user code, reports what came of it."""
