"""Skate on a Ray cluster beside plain Ray on the same cluster: what the adapter costs, and what it gains on short tasks."""
