"""Graphs of calls: `bind` writes down what `remote` would do, `execute` does it.

    with InputNode() as number:
        graph = add.bind(square.bind(number), square.bind(2))
    skate.get(graph.execute(3))  # 13

A node runs once in each `execute`, also when others use it several times; actors made by `bind` are made anew each time. Nothing is compiled.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from skate.actor import ActorClass, ActorMethod
    from skate.remote_function import RemoteFunction

__all__ = [
    "ClassMethodNode",
    "ClassNode",
    "DAGNode",
    "FunctionNode",
    "InputAttributeNode",
    "InputNode",
    "MethodNode",
    "MultiOutputNode",
]


class _Run:
    """One execution: its input, and what each node gave."""

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.args = args
        self.kwargs = kwargs
        self.results: dict[int, Any] = {}  # id(node) → ref, handle or value


class DAGNode:
    """Base of all nodes."""

    def __init__(self, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> None:
        self._args = args
        self._kwargs = kwargs or {}

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        """Run the graph that ends here.

        Args:
            args, kwargs: What its `InputNode` stands for.

        Returns:
            A ref, for a call; a list of refs for a `MultiOutputNode`; a handle for an actor.
        """
        run = _Run(args, kwargs)
        pending: list[tuple[DAGNode, bool]] = [(self, False)]
        while pending:  # Without recursion: a chain of calls may be long.
            node, is_expanded = pending.pop()
            if id(node) in run.results:
                continue
            if is_expanded:
                run.results[id(node)] = node._run(run)
                continue
            pending.append((node, True))
            pending.extend((child, False) for child in node._children())
        return run.results[id(self)]

    def _children(self) -> Iterator[DAGNode]:
        yield from _nodes_in((self._args, self._kwargs))

    def _run(self, run: _Run) -> Any:
        raise NotImplementedError

    def _arguments(self, run: _Run) -> tuple[tuple[Any, ...], dict[str, Any]]:
        args, kwargs = _fill((self._args, self._kwargs), run)
        return args, kwargs

    def __reduce__(self) -> Any:
        raise TypeError("a graph can't travel: execute it here and pass the ref it gives")


class FunctionNode(DAGNode):
    """A call of a remote function."""

    def __init__(self, function: RemoteFunction[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        super().__init__(args, kwargs)
        self._function = function

    def _run(self, run: _Run) -> Any:
        args, kwargs = self._arguments(run)
        return self._function.remote(*args, **kwargs)

    def __repr__(self) -> str:
        return f"FunctionNode({self._function.__name__})"


class ClassNode(DAGNode):
    """An actor; its methods can be bound."""

    def __init__(self, cls: ActorClass[Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        super().__init__(args, kwargs)
        self._class = cls

    def __getattr__(self, name: str) -> _UnboundMethod:
        if name.startswith("_"):
            raise AttributeError(name)
        if name not in self._class._table.methods:
            from skate._signature import near

            raise AttributeError(
                f"actor class {self._class.__name__!r} has no method {name!r}{near(name, self._class._table.methods)}"
            )
        return _UnboundMethod(self, name, {})

    def _run(self, run: _Run) -> Any:
        args, kwargs = self._arguments(run)
        return self._class.remote(*args, **kwargs)

    def __repr__(self) -> str:
        return f"ClassNode({self._class.__name__})"


class _UnboundMethod:
    """A method of an actor that does not exist yet."""

    def __init__(self, actor: ClassNode, name: str, options: dict[str, Any]) -> None:
        self._actor = actor
        self._name = name
        self._options = options

    def options(self, **options: Any) -> _UnboundMethod:
        return _UnboundMethod(self._actor, self._name, {**self._options, **options})

    def bind(self, *args: Any, **kwargs: Any) -> MethodNode:
        self._actor._class._table.methods[self._name].signature.check(f"{self._name}.bind", args, kwargs)
        return MethodNode(self, args, kwargs)


class MethodNode(DAGNode):
    """A call of an actor's method."""

    def __init__(self, method: ActorMethod | _UnboundMethod, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        super().__init__(args, kwargs)
        self._method = method

    def _children(self) -> Iterator[DAGNode]:
        if isinstance(self._method, _UnboundMethod):
            yield self._method._actor
        yield from super()._children()

    def _run(self, run: _Run) -> Any:
        args, kwargs = self._arguments(run)
        method: Any = self._method
        if isinstance(method, _UnboundMethod):
            options = method._options
            method = getattr(run.results[id(method._actor)], method._name)
            if options:
                method = method.options(**options)
        return method.remote(*args, **kwargs)


ClassMethodNode = MethodNode  # Ray's name.


class InputNode(DAGNode):
    """Stands for what `execute` is given: the value itself when it is one, else `node[0]`, `node.name`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def __getitem__(self, key: Any) -> InputAttributeNode:
        return InputAttributeNode(self, key, is_attribute=False)

    def __getattr__(self, name: str) -> InputAttributeNode:
        if name.startswith("_"):
            raise AttributeError(name)
        return InputAttributeNode(self, name, is_attribute=True)

    def _run(self, run: _Run) -> Any:
        if len(run.args) == 1 and not run.kwargs:
            return run.args[0]
        return run  # Several: only its parts can be used.


class InputAttributeNode(DAGNode):
    """A part of the input."""

    def __init__(self, source: InputNode, key: Any, *, is_attribute: bool) -> None:
        super().__init__((source,))
        self._key = key
        self._is_attribute = is_attribute

    def _run(self, run: _Run) -> Any:
        key = self._key
        if len(run.args) == 1 and not run.kwargs:
            return getattr(run.args[0], key) if self._is_attribute else run.args[0][key]
        try:
            return run.args[key] if isinstance(key, int) else run.kwargs[key]
        except (IndexError, KeyError):
            raise ValueError(
                f"the graph uses input {key!r}, and execute() was given {len(run.args)} values and {sorted(run.kwargs)}"
            ) from None


class MultiOutputNode(DAGNode):
    """Several ends of one graph: `execute` gives a list."""

    def __init__(self, outputs: list[DAGNode] | tuple[DAGNode, ...]) -> None:
        super().__init__(tuple(outputs))

    def _run(self, run: _Run) -> Any:
        return list(self._arguments(run)[0])


def _nodes_in(value: Any) -> Iterator[DAGNode]:
    if isinstance(value, DAGNode):
        yield value
    elif type(value) in (list, tuple):
        for one in value:
            yield from _nodes_in(one)
    elif type(value) is dict:
        yield from _nodes_in(list(value.values()))


def _fill(value: Any, run: _Run) -> Any:
    """The same value with what its nodes gave in their places."""
    if isinstance(value, DAGNode):
        result = run.results[id(value)]
        if result is run:
            raise ValueError(
                "execute() was given several values: the graph has to use the parts of its InputNode, such as node[0] or node.name"
            )
        return result
    if type(value) is list:
        return [_fill(one, run) for one in value]
    if type(value) is tuple:
        return tuple(_fill(one, run) for one in value)
    if type(value) is dict:
        return {key: _fill(one, run) for key, one in value.items()}
    return value
