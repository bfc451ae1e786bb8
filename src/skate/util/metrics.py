"""Where Ray users look for `skate.metrics`."""

from skate.metrics import Counter, Gauge, Histogram, Metric

__all__ = ["Counter", "Gauge", "Histogram", "Metric"]
