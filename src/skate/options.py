"""Options of tasks, actors and methods: checked here, and turned into the plain values of `backends.base`.

Each option has one checker; its name is what the user wrote, so that a message can say `max_retries=-2: …`. What an option means is
told in docs/reference; its default is in the function that makes the spec.

    check_task, check_actor, check_method      a dict as the user wrote it → the same dict, or TypeError / ValueError
    task_spec, actor_spec, method_spec         checked dict → backends.base spec
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from skate._signature import near
from skate.backends.base import DYNAMIC, STREAMING, ActorClassSpec, MethodSpec, Placement, TaskSpec

if TYPE_CHECKING:
    from skate.backends.base import Backend

Options = dict[str, Any]
Checker = Callable[[str, Any], None]

_FINEST = 0.0001  # Resources are counted in ten-thousandths (engine/spec/resources.py).
_ACCELERATOR_AMOUNT = 0.001  # A request for a kind of accelerator takes this much of "accelerator_type:KIND", as in Ray.


# ---------------------------------------------------------------- checkers


def _wrong(name: str, value: Any, wanted: str) -> str:
    return f"{name}={value!r}: {name} must be {wanted}"


def _count_from(least: int, wanted: str) -> Checker:
    def check(name: str, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(_wrong(name, value, wanted))
        if value < least:
            raise ValueError(_wrong(name, value, wanted))

    return check


def check_amount(name: str, value: Any) -> None:
    """A resource amount: finite, not negative, no finer than 0.0001."""
    if isinstance(value, bool) or not hasattr(value, "__float__"):  # NumPy's numbers are welcome.
        raise TypeError(_wrong(name, value, "a number"))
    value = float(value) if not isinstance(value, int) else value
    if not value >= 0 or value == float("inf"):
        raise ValueError(_wrong(name, value, "a finite number that is not negative"))
    if 0 < value < _FINEST or abs(value / _FINEST - round(value / _FINEST)) > 1e-3:
        raise ValueError(_wrong(name, value, f"a multiple of {_FINEST}"))
    if name == "num_gpus" and value > 1 and value != int(value):
        raise ValueError(_wrong(name, value, "whole above 1 (a fraction shares one GPU)"))


def check_resources(name: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise TypeError(_wrong(name, value, 'a dict of name → amount, such as {"license": 1}'))
    reserved = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory", "object_store_memory": "object_store_memory"}
    for resource, amount in value.items():
        if not isinstance(resource, str) or not resource:
            raise TypeError(f"{name}: names of resources are strings, not {resource!r}")
        if resource in reserved:
            raise ValueError(f"{name}={value!r}: write {reserved[resource]}={amount!r} instead of {resource!r} in {name}")
        check_amount(f"{name}[{resource!r}]", amount)


def _boolean(name: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise TypeError(_wrong(name, value, "True or False"))


def _text(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise TypeError(_wrong(name, value, "a string"))
    if not value:
        raise ValueError(_wrong(name, value, "a string that is not empty"))


def _num_returns(name: str, value: Any) -> None:
    wanted = 'an int from 0 on, "streaming" (for generators), or "dynamic"'
    if isinstance(value, str):
        if value not in ("streaming", "dynamic"):
            raise ValueError(_wrong(name, value, wanted) + near(value, ("streaming", "dynamic")))
        if value == "dynamic":
            import warnings

            warnings.warn('num_returns="dynamic" is deprecated: use "streaming"', DeprecationWarning, stacklevel=5)
        return
    _count_from(0, wanted)(name, value)


def _retry_exceptions(name: str, value: Any) -> None:
    if isinstance(value, bool):
        return
    wanted = "True, False, or a list of exception classes"
    if not isinstance(value, list | tuple):
        raise TypeError(_wrong(name, value, wanted))
    for kind in value:
        if not isinstance(kind, type) or not issubclass(kind, BaseException):
            raise ValueError(_wrong(name, value, wanted))


def _backpressure(name: str, value: Any) -> None:
    wanted = "-1 (no limit) or an int from 1 on: how many items the generator may run ahead of its consumer"
    _count_from(-1, wanted)(name, value)
    if value == 0:
        raise ValueError(_wrong(name, value, wanted))


def _max_pending_calls(name: str, value: Any) -> None:
    wanted = "-1 (no limit) or an int from 1 on"
    _count_from(-1, wanted)(name, value)
    if value == 0:
        raise ValueError(_wrong(name, value, wanted))


def _lifetime(name: str, value: Any) -> None:
    if value not in ("detached", "non_detached"):
        raise ValueError(_wrong(name, value, '"detached", "non_detached" or None'))


def _concurrency_groups(name: str, value: Any) -> None:
    if isinstance(value, list | tuple):  # Ray's other form: [{"name": "io", "max_concurrency": 2, "methods": […]}].
        for group in value:
            if not isinstance(group, Mapping) or "name" not in group:
                raise TypeError(_wrong(name, value, 'a dict such as {"io": 2}'))
        value = {group["name"]: group.get("max_concurrency", 1) for group in value}
    if not isinstance(value, Mapping):
        raise TypeError(_wrong(name, value, 'a dict of group name → calls at the same time, such as {"io": 2}'))
    for group, threads in value.items():
        _text(f"{name} key", group)
        _count_from(1, "an int from 1 on")(f"{name}[{group!r}]", threads)


def _strategy(name: str, value: Any) -> None:
    if isinstance(value, str):
        if value not in ("DEFAULT", "SPREAD"):
            raise ValueError(
                _wrong(name, value, '"DEFAULT", "SPREAD" or a strategy object') + near(value.upper(), ("DEFAULT", "SPREAD"))
            )
        return
    from skate import scheduling_strategies as strategies

    known = (
        strategies.PlacementGroupSchedulingStrategy,
        strategies.NodeAffinitySchedulingStrategy,
        strategies.NodeLabelSchedulingStrategy,
    )
    if not isinstance(value, known):
        raise TypeError(_wrong(name, value, '"DEFAULT", "SPREAD" or an object of skate.util.scheduling_strategies'))
    if isinstance(value, strategies.PlacementGroupSchedulingStrategy):
        group, index = value.placement_group, value.placement_group_bundle_index
        if group is not None and not hasattr(group, "bundle_specs"):
            raise TypeError(f"{name}: placement_group must be what skate.util.placement_group(…) returned, not {group!r}")
        if isinstance(index, bool) or not isinstance(index, int):
            raise TypeError(f"{name}: placement_group_bundle_index must be an int, not {index!r}")
        if group is not None and not -1 <= index < max(group.bundle_count, 1):
            raise ValueError(
                f"{name}: placement_group_bundle_index={index}: the group has {group.bundle_count} bundles; write -1 for any of them"
            )


def _runtime_env(name: str, value: Any) -> None:
    from skate.runtime_env import RuntimeEnv

    if not isinstance(value, Mapping):
        raise TypeError(_wrong(name, value, 'a dict such as {"env_vars": {"KEY": "value"}}'))
    if not isinstance(value, RuntimeEnv):
        RuntimeEnv(**value)


def check_labels(name: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise TypeError(_wrong(name, value, "a dict of label → value"))
    for label, text in value.items():
        if not isinstance(label, str) or not isinstance(text, str):
            raise TypeError(f"{name}: labels and their values are strings, not {label!r}: {text!r}")
        if not label:
            raise ValueError(f"{name}: a label can't be empty")


def _fallback_strategy(name: str, value: Any) -> None:
    if not isinstance(value, list):
        raise TypeError(_wrong(name, value, 'a list such as [{"label_selector": {"zone": "b"}}]'))
    for entry in value:
        if not isinstance(entry, Mapping) or set(entry) != {"label_selector"}:
            raise ValueError(_wrong(name, value, 'a list such as [{"label_selector": {"zone": "b"}}]'))
        check_labels(f"{name}: label_selector", entry["label_selector"])


def _task_name(name: str, value: Any) -> None:
    if not isinstance(value, str):  # "" is the function's own name.
        raise TypeError(_wrong(name, value, "a string"))


def _group(name: str, value: Any) -> None:
    if value != "default" and not hasattr(value, "bundle_specs"):
        raise TypeError(_wrong(name, value, "what skate.util.placement_group(…) returned, or None"))


def _anything(name: str, value: Any) -> None:
    """Accepted for Ray's programs; it has no meaning on one machine."""


_COMMON: dict[str, Checker] = {
    "num_cpus": check_amount,
    "num_gpus": check_amount,
    "resources": check_resources,
    "memory": check_amount,
    "accelerator_type": _text,
    "name": _text,
    "runtime_env": _runtime_env,
    "scheduling_strategy": _strategy,
    "label_selector": check_labels,
    "fallback_strategy": _fallback_strategy,
    "placement_group": _group,  # Deprecated in Ray, with the next two: see _strategy_of.
    "placement_group_bundle_index": _count_from(-1, "an int from -1 on"),
    "placement_group_capture_child_tasks": _boolean,
    "object_store_memory": _anything,
    "enable_task_events": _boolean,
    "_labels": check_labels,
    "_metadata": _anything,
}
_RETURNING: dict[str, Checker] = {
    "num_returns": _num_returns,
    "retry_exceptions": _retry_exceptions,
    "_generator_backpressure_num_objects": _backpressure,
    "_num_objects_per_yield": _anything,
}
TASK_OPTIONS: dict[str, Checker] = {
    **_COMMON,
    **_RETURNING,
    "name": _task_name,
    "max_calls": _count_from(0, "0 (no limit) or a positive int"),
    "max_retries": _count_from(-1, "-1 (endless), 0 or a positive int"),
}
ACTOR_OPTIONS: dict[str, Checker] = {
    **_COMMON,
    "namespace": _text,
    "get_if_exists": _boolean,
    "lifetime": _lifetime,
    "max_restarts": _count_from(-1, "-1 (endless), 0 or a positive int"),
    "max_task_retries": _count_from(-1, "-1 (endless), 0 or a positive int"),
    "max_concurrency": _count_from(1, "a positive int"),
    "max_pending_calls": _max_pending_calls,
    "concurrency_groups": _concurrency_groups,
    "allow_out_of_order_execution": _boolean,
    "enable_tensor_transport": _boolean,
    "_actor_generator_backpressure_num_objects": _anything,
}
METHOD_OPTIONS: dict[str, Checker] = {
    **_RETURNING,
    "max_task_retries": _count_from(-1, "-1 (endless), 0 or a positive int"),
    "concurrency_group": _text,
    "enable_task_events": _boolean,
    "tensor_transport": _anything,
}
CALL_OPTIONS: dict[str, Checker] = {**METHOD_OPTIONS, "name": _text}

_OWNERS = {
    **dict.fromkeys(ACTOR_OPTIONS, "actors"),
    **dict.fromkeys(METHOD_OPTIONS, "methods"),
    **dict.fromkeys(TASK_OPTIONS, "tasks"),
}


def _check(what: str, allowed: Mapping[str, Checker], options: Mapping[str, Any]) -> Options:
    for name, value in options.items():
        checker = allowed.get(name)
        if checker is None:
            hint = near(name, allowed)
            owner = _OWNERS.get(name)
            if owner is not None and not hint:
                hint = f": it is an option of {owner}"
            raise ValueError(
                f"{name!r} is not an option of {what}{hint} (options: {', '.join(n for n in allowed if n[0] != '_')})"
            )
        if value is not None:
            checker(name, value)
    group = options.get("placement_group", "default")
    if group not in (None, "default") and options.get("scheduling_strategy") is not None:
        raise ValueError(
            "placement_group is the deprecated form of scheduling_strategy=PlacementGroupSchedulingStrategy(…): give one of them"
        )
    return dict(options)


def check_task(options: Mapping[str, Any], *, in_options: bool = False) -> Options:
    checked = _check("a remote function", TASK_OPTIONS, options)
    if in_options and "max_calls" in options:
        raise ValueError("max_calls can't be set in .options(): write it at the definition, @skate.remote(max_calls=…)")
    if checked.get("object_store_memory") is not None:
        raise ValueError(
            "object_store_memory is not an option of a task; skate.init(object_store_memory=…) sets the store's size"
        )
    return checked


def check_actor(options: Mapping[str, Any], *, in_options: bool = False) -> Options:
    checked = _check("an actor", ACTOR_OPTIONS, options)
    if in_options and "concurrency_groups" in options:
        raise ValueError(
            "concurrency_groups can't be set in .options(): write it at the class, @skate.remote(concurrency_groups=…)"
        )
    return checked


def check_method(options: Mapping[str, Any]) -> Options:
    return _check("an actor method", METHOD_OPTIONS, options)


def check_call(options: Mapping[str, Any]) -> Options:
    return _check("an actor call", CALL_OPTIONS, options)


# ---------------------------------------------------------------- specs


def returns_of(options: Mapping[str, Any], name: str, *, is_generator: bool, may_return_generator: bool = False) -> int:
    """`num_returns` as the backend counts it.

    Raises:
        ValueError: "streaming" or "dynamic" for something that does not yield.
    """
    wanted = options.get("num_returns")
    if wanted is None:
        return STREAMING if is_generator else 1
    if isinstance(wanted, str):
        if not is_generator and not may_return_generator:
            raise ValueError(f"num_returns={wanted!r}: {name!r} is not a generator: it has no yield")
        return STREAMING if wanted == "streaming" else DYNAMIC
    return int(wanted)


def task_spec(
    function: Callable[..., Any], name: str, num_returns: int, options: Mapping[str, Any], backend: Backend
) -> TaskSpec:
    resources = _resources(options)
    resources.setdefault("CPU", 1.0)
    max_calls = options.get("max_calls")
    if max_calls is None:
        # A process that has used a GPU keeps memory on it: Ray, too, gives each GPU task a fresh one.
        max_calls = 1 if resources.get("GPU") else 0
    return TaskSpec(
        function=function,
        name=options.get("name") or name,
        placement=_placement(options, resources, backend),
        num_returns=num_returns,
        max_retries=_or(options.get("max_retries"), 3),
        retry_exceptions=_retried(options),
        max_calls=max_calls,
        backpressure=_or(options.get("_generator_backpressure_num_objects"), -1),
        is_recorded=_or(options.get("enable_task_events"), True),
    )


def actor_spec(
    cls: type, class_name: str, handle_meta: bytes, options: Mapping[str, Any], backend: Backend, *, is_async: bool
) -> ActorClassSpec:
    if options.get("get_if_exists") and not options.get("name"):
        raise ValueError("get_if_exists=True needs the actor's name: .options(name=…, get_if_exists=True)")
    running = _resources(options)
    # Ray's rule: an actor for which nothing was asked needs a CPU to be placed and none while it lives; one for which anything but memory was
    # asked holds all of it, and one CPU unless num_cpus says otherwise.
    if running.keys() - {"memory"}:
        running.setdefault("CPU", 1.0)
        placing = running
    else:
        placing = {**running, "CPU": 1.0}
    return ActorClassSpec(
        cls=cls,
        class_name=class_name,
        placement=_placement(options, placing, backend),
        running_resources=running,
        name=options.get("name") or "",
        namespace=options.get("namespace") or "",
        get_if_exists=bool(options.get("get_if_exists")),
        detached=options.get("lifetime") == "detached",
        max_restarts=_or(options.get("max_restarts"), 0),
        max_task_retries=_or(options.get("max_task_retries"), 0),
        max_concurrency=options.get("max_concurrency"),
        concurrency_groups=groups_of(options),
        max_pending_calls=_or(options.get("max_pending_calls"), -1),
        is_async=is_async,
        handle_meta=handle_meta,
    )


def method_spec(name: str, num_returns: int, options: Mapping[str, Any]) -> MethodSpec:
    return MethodSpec(
        name=name,
        num_returns=num_returns,
        max_task_retries=options.get("max_task_retries"),
        retry_exceptions=_retried(options),
        concurrency_group=options.get("concurrency_group") or "",
        backpressure=_or(options.get("_generator_backpressure_num_objects"), -1),
        call_name=options.get("name") or "",
        is_recorded=_or(options.get("enable_task_events"), True),
    )


def groups_of(options: Mapping[str, Any]) -> dict[str, int]:
    """Concurrency groups, name → calls at the same time."""
    groups = options.get("concurrency_groups") or {}
    if isinstance(groups, Mapping):
        return dict(groups)
    return {group["name"]: group.get("max_concurrency", 1) for group in groups}


def follows_group(options: Mapping[str, Any]) -> bool:
    """Whether this goes where the running task's placement group captures it: nothing else was said."""
    return _strategy_of(options) is None


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value


def _retried(options: Mapping[str, Any]) -> bool | tuple[type[BaseException], ...]:
    kinds = options.get("retry_exceptions") or False
    return kinds if isinstance(kinds, bool) else tuple(kinds)


def _resources(options: Mapping[str, Any]) -> dict[str, float]:
    amounts: dict[str, float] = {name: float(amount) for name, amount in (options.get("resources") or {}).items()}
    for option, resource in (("num_cpus", "CPU"), ("num_gpus", "GPU"), ("memory", "memory")):
        amount = options.get(option)
        if amount is not None:
            amounts[resource] = float(amount)
    if not amounts.get("GPU"):
        amounts.pop("GPU", None)  # num_gpus=0 asks for nothing.
    if options.get("accelerator_type"):
        amounts[f"accelerator_type:{options['accelerator_type']}"] = _ACCELERATOR_AMOUNT
    return amounts


def _strategy_of(options: Mapping[str, Any]) -> Any:
    strategy = options.get("scheduling_strategy")
    group = options.get("placement_group", "default")
    if strategy is None and group != "default":
        from skate.scheduling_strategies import PlacementGroupSchedulingStrategy

        return PlacementGroupSchedulingStrategy(
            group, _or(options.get("placement_group_bundle_index"), -1), options.get("placement_group_capture_child_tasks")
        )
    return strategy


def _placement(options: Mapping[str, Any], resources: dict[str, float], backend: Backend) -> Placement:
    strategy = _strategy_of(options)
    fields: dict[str, Any] = {}
    labels = dict(options.get("label_selector") or {})
    if isinstance(strategy, str):
        fields["strategy"] = strategy
    elif strategy is None:
        if group := captured_group(backend):
            fields.update(placement_group=group, capture_child_tasks=True)
    elif hasattr(strategy, "placement_group"):
        if strategy.placement_group is not None and not strategy.placement_group.is_empty:
            _check_bundle(strategy.placement_group, strategy.placement_group_bundle_index, resources)
            fields["placement_group"] = strategy.placement_group.id.binary()
            fields["bundle"] = strategy.placement_group_bundle_index
            fields["capture_child_tasks"] = bool(strategy.placement_group_capture_child_tasks)
    elif hasattr(strategy, "node_id"):
        try:
            fields["node"] = bytes.fromhex(strategy.node_id)
        except ValueError:
            raise ValueError(
                f"NodeAffinitySchedulingStrategy: node_id={strategy.node_id!r} is not a node id: see skate.nodes()"
            ) from None
        fields["soft"] = strategy.soft
    else:
        labels.update({label: _selector(expression) for label, expression in strategy.hard.items()})
        soft = {label: _selector(expression) for label, expression in strategy.soft.items() if label not in strategy.hard}
        if soft:
            labels = _first_match(backend, [{**labels, **soft}, labels])
    fallbacks = options.get("fallback_strategy")
    if fallbacks:
        labels = _first_match(backend, [labels, *(dict(entry["label_selector"]) for entry in fallbacks)])
    return Placement(resources, labels=labels, runtime_env=_env(options), **fields)


def captured_group(backend: Backend) -> bytes:
    """The placement group that captures the children of the task that runs here; b"" for none. Asked for every call of a worker."""
    ask = getattr(backend, "captured_group", None)
    if ask is not None:
        return ask()  # type: ignore[no-any-return]
    if backend.name == "ray":
        return b""  # Ray does it itself.
    context = backend.runtime_context()
    if context.get("mode") != "worker" or not context.get("capture_child_tasks"):
        return b""
    return context.get("placement_group_id") or b""


def _check_bundle(group: Any, index: int, resources: Mapping[str, float]) -> None:
    bundles = group.bundle_specs
    if index >= 0:
        bundles = bundles[index : index + 1]
    needed = {name: amount for name, amount in resources.items() if amount}
    if bundles and not any(all(bundle.get(name, 0) >= amount for name, amount in needed.items()) for bundle in bundles):
        where = f"bundle {index}" if index >= 0 else "any bundle"
        raise ValueError(f"{needed} will never fit {where} of the placement group: its bundles are {group.bundle_specs}")


def _selector(expression: Any) -> str:
    kind = type(expression).__name__
    if kind in ("In", "NotIn"):
        return f"{'!' if kind == 'NotIn' else ''}in({', '.join(expression.values)})"
    return "exists()" if kind == "Exists" else "!exists()"


def _first_match(backend: Backend, selectors: list[dict[str, str]]) -> dict[str, str]:
    """The first selector some node matches; the first of all when none does, so that the task waits for it."""
    from skate.engine.scheduler.labels import labels_match

    nodes = [node.get("Labels") or {} for node in backend.nodes()]
    for selector in selectors:
        if any(labels_match(selector, labels) for labels in nodes):
            return selector
    return selectors[0]


def _env(options: Mapping[str, Any]) -> Mapping[str, Any]:
    env = options.get("runtime_env")
    return dict(env) if env else {}
