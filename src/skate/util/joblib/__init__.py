"""joblib on Skate: `register_skate()` (or `register_ray()`), then `with joblib.parallel_backend("skate"):`."""

from skate.util.joblib.backend import register_ray, register_skate

__all__ = ["register_ray", "register_skate"]
