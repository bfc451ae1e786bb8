"""What is otherwise on a Ray cluster: test → reason. The same list stands in docs/how-to/run-on-ray.md (a test compares them)."""

from __future__ import annotations

_ALL = "lists are of the whole cluster, with what other programs have there"
DIFFERENCES: dict[str, str] = {
    "test_actors::test_calls_are_finished_after_the_last_handle_went": "an actor's process ends without running what `atexit` was given, and stays a while",
    "test_actors::test_a_sync_call_sees_that_it_is_cancelled": "a cancelled call of an actor raises TaskCancelledError in `get`, whatever the method then returns",
    "test_actors::test_a_cancelled_call_that_waits_never_runs": "cancelling a call that waits behind a running one of a plain actor has no effect that `get` sees in time",
    "test_generators::test_a_generator_stops_when_nobody_wants_more": "a generator whose handle is dropped runs on to its end",
    "test_generators::test_cancelling_a_generator": "`next` of a generator that was cancelled may wait for good: leave its loop instead",
    "test_actors::test_kill_fails_calls": "Ray ends an actor some time after `kill` has returned: a call made at once may still be answered",
    "test_actors::test_methods_with_several_returns_and_generators": '`num_returns="streaming"` at the call needs a method that is a generator function; one that returns an iterator says so by `@skate.method`',
    "test_generators::test_completed": "`completed()` is ready when the generator has ended, also by an error, which is the last item",
    "test_objects::test_values_come_back_as_they_went[bytearray15]": "a bytearray comes back as bytes",
    "test_objects::test_memory_comes_back_when_refs_go": "objects are counted by the state API, which needs the cluster's dashboard",
    "test_tasks::test_a_lost_worker_is_replaced_and_the_task_runs_again": "the error of a lost worker does not name the task",
    "test_tasks::test_a_running_task_is_interrupted": "`cancel` does not interrupt code that sleeps or waits outside of Python, such as `time.sleep`: `force=True` does",
    "test_session_services::test_metrics_of_workers_and_driver_are_summed": "not forwarded to Ray's yet; `skate.report` keeps the latest values only",
    "test_session_services::test_stored_objects_are_listed": "objects are counted by the state API, which needs the cluster's dashboard",
    "test_session_services::test_tasks_and_actors_are_listed": _ALL,
    "test_session_services::test_the_timeline_is_written": _ALL,
    "test_session_services::test_named_actors_are_listed": _ALL,
    "test_debugger::test_a_terminal_attaches_to_a_task_that_stopped": "`skate debug` attaches to tasks of Skate's own engine",
    "test_resources::test_a_node_that_does_not_exist_is_an_error": "node ids have 28 bytes, and others are refused",
    "test_resources::test_the_context_of_a_task": "a short call travels with others, in a Ray task with an id of its own",
    "test_resources::test_strategies_on_one_node": "node ids have 28 bytes, and others are refused",
}


def reason_not_on_ray(module: str, test: str) -> str:
    """Why a test does not hold on Ray; "" when it does. `test`: its name, with parameters."""
    return DIFFERENCES.get(f"{module}::{test}") or DIFFERENCES.get(f"{module}::{test.partition('[')[0]}", "")
