"""Where a program runs: one protocol (`base`), and a module for each place."""
