"""The node process's shell alone: real processes, with a scheduler, a directory and workers that do as the test says."""
