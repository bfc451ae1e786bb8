"""Every knob of the engine, with its unit in its name and the reason for its value. Constants: nothing here reads the environment."""

from typing import Final

# ---- messages
PACKET_BYTES_MAX: Final = 128 * 1024  # Below Linux's default socket buffer of 212,992, so that a packet always fits.
SOCKET_BUFFER_BYTES: Final = 1024 * 1024
INLINE_BYTES_MAX: Final = 100 * 1024  # Larger values go to the arena, as in Ray.
OUTBOX_BYTES_MAX: Final = 256 * 1024 * 1024  # What may wait for a peer that does not read; then it is taken for dead.

# ---- submission
BATCH_BUDGET_S: Final = 0.002  # Work kept in flight per worker: two batches of half of this hide the round trip.
WINDOW_CALLS_MAX: Final = 256
PREFETCH_DURATION_MAX_S: Final = 0.004  # Longer tasks gain nothing from prefetching (a round trip takes 0.1 ms).
STUCK_AFTER_S: Final = 0.01  # A worker with no answer for this long gets its unread calls taken back.
LEASE_LINGER_S: Final = 0.2  # An idle lease is kept this long for the next call; earlier when somebody asks.
ACTOR_IN_FLIGHT_MAX: Final = 1024  # Calls sent to one actor and not answered.
RESULT_FLUSH_S: Final = 0.0005
FLUSH_WATCH_S: Final = 0.005  # How often a worker's control thread looks for results held back by a long call.

# ---- threads
FOREGROUND_GRACE_S: Final = 0.01  # The background thread keeps away from the sockets this long after a user's thread read them.
IDLE_TICK_S: Final = 0.25  # Refs that an otherwise idle driver drops are handed on this often.
WORKER_IDLE_TICK_S: Final = 5.0  # A worker hands them on after each call; a thousand idle actors must cost nothing.
BLOCKED_AFTER_S: Final = 0.001  # A task that waits this long in get gives its CPU back.

# ---- node
WORKER_EXIT_GRACE_S: Final = 3.0
IDLE_WORKER_TIMEOUT_S: Final = 5.0
NODE_EXIT_GRACE_S: Final = 0.5
OBJECT_STORE_FRACTION: Final = 0.3  # Of the machine's (or cgroup's) memory.
MEMORY_PRESSURE_FRACTION: Final = 0.95
MEMORY_CHECK_S: Final = 0.25
LOG_LINES_KEPT_PER_WORKER: Final = 2000
LOG_BYTES_KEPT_PER_WORKER: Final = 256 * 1024
TASK_EVENTS_KEPT: Final = 1_000_000
