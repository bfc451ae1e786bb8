"""What Ray keeps under `experimental` and libraries use: `internal_kv`, `tqdm_ray`."""
