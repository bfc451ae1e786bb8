"""Where Ray users look for it."""

from skate.state import RayStateApiException

__all__ = ["RayStateApiException"]
