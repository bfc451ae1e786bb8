"""Dask collections computed by Skate: `ddf.compute(scheduler=ray_dask_get)`, or `enable_dask_on_ray()` once."""

from skate.util.dask.scheduler import (
    disable_dask_on_ray,
    disable_dask_on_skate,
    enable_dask_on_ray,
    enable_dask_on_skate,
    ray_dask_get,
    ray_dask_get_sync,
    skate_dask_get,
)

__all__ = [
    "disable_dask_on_ray",
    "disable_dask_on_skate",
    "enable_dask_on_ray",
    "enable_dask_on_skate",
    "ray_dask_get",
    "ray_dask_get_sync",
    "skate_dask_get",
]
