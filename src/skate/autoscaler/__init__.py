"""Ray's place for `autoscaler.sdk`. One machine does not grow; on a Ray cluster Ray's own autoscaler does it."""
