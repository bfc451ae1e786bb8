"""What is otherwise on a Ray cluster: test → reason. The same list stands in docs/how-to/run-on-ray.md (a test compares them)."""

from __future__ import annotations

DIFFERENCES: dict[str, str] = {
    "test_actors::test_kill_fails_calls": "Ray ends an actor some time after `kill` has returned: a call made at once may still be answered",
    "test_actors::test_methods_with_several_returns_and_generators": '`num_returns="streaming"` at the call needs a method that is a generator function; one that returns an iterator says so by `@skate.method`',
    "test_generators::test_completed": "`completed()` is ready when the generator has ended, also by an error, which is the last item",
    "test_objects::test_values_come_back_as_they_went[bytearray15]": "a bytearray comes back as bytes",
    "test_resources::test_the_context_of_a_task": "a short call travels with others, in a Ray task with an id of its own",
    "test_resources::test_strategies_on_one_node": "node ids have 28 bytes, and others are refused",
}


def reason_not_on_ray(module: str, test: str) -> str:
    """Why a test does not hold on Ray; "" when it does. `test`: its name, with parameters."""
    return DIFFERENCES.get(f"{module}::{test}") or DIFFERENCES.get(f"{module}::{test.partition('[')[0]}", "")
