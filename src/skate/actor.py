"""Actors: a class whose instance lives in a worker of its own, and the handles that call it.

    ActorClass   what `@skate.remote` makes of a class:  Counter.remote(…) ─► backend.create_actor ─► ActorHandle
    ActorHandle  names a living actor; may travel:       handle.add ─► ActorMethod
    ActorMethod  one method of one actor:                handle.add.remote(1) ─► backend.call_actor ─► ObjectRef

A handle knows its actor's methods by a table (`ClassTable`) that travels with it as `handle_meta`: whoever gets a handle can check calls without
having the class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, overload

from skate._signature import ANYTHING, Signature, is_async, is_generator, near, signature_of
from skate.backends import current
from skate.backends.base import STREAMING
from skate.generator import ObjectRefGenerator
from skate.options import actor_spec, check_actor, check_call, check_method, groups_of, method_spec, returns_of
from skate.remote_function import shown_call

if TYPE_CHECKING:
    from skate._ids import ActorID
    from skate.backends.base import Backend

__all__ = ["ActorClass", "ActorHandle", "ActorMethod", "exit_actor", "get_actor", "kill", "method"]

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
_VARIANTS_MAX = 64
_TOKENS_MAX = 256
_TABLES_MAX = 1024
_OPTIONS_ATTRIBUTE = "__skate_method_options__"


# ---------------------------------------------------------------- what a handle knows of its class


class MethodEntry:
    """One method, with its options settled. Compared by identity: handles keep a token for each."""

    __slots__ = ("kind", "least", "most", "name", "num_returns", "options", "signature", "variants")

    def __init__(self, name: str, signature: Signature, options: Mapping[str, Any], kind: str = "") -> None:
        """
        Args:
            kind: "generator"; "wrapped": a decorator's wrapper, which may return one; else "".
        """
        self.name = name
        self.signature = signature
        self.options = dict(options)
        self.kind = kind
        self.least = signature.least
        self.most = signature.most
        self.num_returns = returns_of(options, name, is_generator=kind == "generator", may_return_generator=kind == "wrapped")
        self.variants: dict[Any, MethodEntry] = {}

    def with_options(self, options: Mapping[str, Any]) -> MethodEntry:
        return MethodEntry(self.name, self.signature, {**self.options, **options}, self.kind)

    def __reduce__(self) -> tuple[Any, ...]:
        return MethodEntry, (self.name, self.signature, self.options, self.kind)


class ClassTable:
    """The methods of an actor class."""

    __slots__ = ("class_name", "groups", "handle_class", "methods")

    def __init__(self, class_name: str, methods: dict[str, MethodEntry], groups: tuple[str, ...]) -> None:
        self.class_name = class_name
        self.methods = methods
        self.groups = groups
        # Handles are of a class with a property for each method: 0.3 µs, where looking it up in __getattr__ takes 2. Not for `__len__` and its like:
        # they would make the handle itself a container.
        properties = {
            name: property(partial(ActorMethod, entry))
            for name, entry in methods.items()
            if not name.startswith(("__", "_skate"))
        }
        self.handle_class: type[ActorHandle[Any]] = type(
            f"ActorHandle({class_name})", (ActorHandle,), {"__slots__": (), **properties}
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return ClassTable, (self.class_name, self.methods, self.groups)


def _table_of(cls: type, options: Mapping[str, Any]) -> ClassTable:
    methods: dict[str, MethodEntry] = {}
    groups = tuple(groups_of(options))
    defaults = {"enable_task_events": False} if options.get("enable_task_events") is False else {}
    for base in cls.__mro__[:-1]:
        for name, value in vars(base).items():
            if name in methods or name in _NOT_METHODS or isinstance(value, type | property):
                continue
            function = getattr(value, "__func__", value)
            if not callable(function):
                continue
            settings = getattr(function, _OPTIONS_ATTRIBUTE, {})
            group = settings.get("concurrency_group")
            if group is not None and group not in groups:
                raise ValueError(
                    f"{cls.__name__}.{name}: concurrency_group={group!r} is not one of the class's groups {list(groups)}{near(group, groups)}; "
                    f"write @skate.remote(concurrency_groups={{{group!r}: 2}})"
                )
            signature = signature_of(function, skip_first=not isinstance(value, staticmethod))
            kind = "generator" if is_generator(function) else "wrapped" if hasattr(function, "__wrapped__") else ""
            methods[name] = MethodEntry(name, signature, {**defaults, **settings}, kind)
    return ClassTable(cls.__name__, methods, groups)


def _has_async_method(cls: type, table: ClassTable) -> bool:
    """Whether actors of this class run their calls in an event loop."""
    return any(is_async(getattr(cls, name, None)) for name in table.methods)


_NOT_METHODS = frozenset({
    "__class_getitem__", "__init_subclass__", "__new__", "__init__", "__subclasshook__", "__getattribute__", "__setattr__", "__delattr__",
    "__reduce__", "__reduce_ex__", "__getstate__", "__setstate__",
})  # fmt: skip

_BUILT_IN = {
    "__ray_ready__": MethodEntry("__ray_ready__", Signature(), {}),
    "__ray_call__": MethodEntry("__ray_call__", Signature(("function",), 1, 1, takes_more=True, takes_any_keyword=True), {}),
    "__ray_terminate__": MethodEntry("__ray_terminate__", Signature(), {}),
}

_tables: dict[bytes, ClassTable] = {}  # By handle_meta: many handles of one class come to a process.


def _dump_table(table: ClassTable) -> bytes:
    import pickle

    try:
        data = pickle.dumps(table, 5)
    except Exception:
        data = b"__main__"
    if b"__main__" in data:  # An exception class in retry_exceptions that others can't import.
        import cloudpickle

        data = cloudpickle.dumps(table, 5)
    return data


def _load_table(handle_meta: bytes) -> ClassTable:
    table = _tables.get(handle_meta)
    if table is None:
        import pickle

        table = pickle.loads(handle_meta)
        if len(_tables) >= _TABLES_MAX:
            _tables.clear()
        _tables[handle_meta] = table
    return table


# ---------------------------------------------------------------- method options


@overload
def method(function: F, /) -> F: ...
@overload
def method(
    *,
    num_returns: int | str | None = ...,
    concurrency_group: str | None = ...,
    max_task_retries: int | None = ...,
    retry_exceptions: bool | list[type[BaseException]] | None = ...,
    **options: Any,
) -> Callable[[F], F]: ...
def method(*args: Any, **options: Any) -> Any:
    """Options of one method of an actor class.

    ```python
    @skate.remote(concurrency_groups={"io": 2})
    class Store:
        @skate.method(num_returns=2, concurrency_group="io")
        def halves(self): return self.left, self.right
    ```

    Args:
        num_returns: Number of refs a call gives, or "streaming".
        concurrency_group: Which of the class's `concurrency_groups` runs it.
        max_task_retries: How often a call is tried again when the actor died meanwhile and was restarted; overrides the actor's.
        retry_exceptions: True, or exception classes after which a call is tried again.
        enable_task_events: False leaves calls that do not fail out of timeline, state and web UI: for those that only wait.

    Raises:
        ValueError, TypeError: An option that does not exist, or a value that makes no sense.
    """
    if len(args) == 1 and not options and callable(args[0]):
        return args[0]
    if args or not options:
        raise ValueError("@skate.method takes options by name: @skate.method(num_returns=2)")
    checked = check_method(options)

    def decorate(function: F) -> F:
        target: Any = getattr(function, "__func__", function)
        setattr(target, _OPTIONS_ATTRIBUTE, checked)
        return function

    return decorate


# ---------------------------------------------------------------- classes


class ActorClass(Generic[T]):
    """A class whose instances live in workers: `Counter.remote(…)` starts one and returns its handle at once."""

    def __init__(self, cls: type[T], options: Mapping[str, Any]) -> None:
        """
        Args:
            cls: Any class.
            options: Checked ones: see `skate.options`.

        Raises:
            ValueError: A method's options do not suit it.
        """
        self._cls = cls
        self._options = dict(options)
        self._table = _table_of(cls, options)
        self._handle_meta = b""
        self._is_async = _has_async_method(cls, self._table)
        self._signature = _constructor_signature(cls)
        self.__name__ = cls.__name__
        self.__qualname__ = cls.__qualname__
        self.__module__ = cls.__module__
        self.__doc__ = cls.__doc__
        self.__wrapped__ = cls
        self.__ray_actor_class__ = cls

    def remote(self, *args: Any, **kwargs: Any) -> ActorHandle[T]:
        """Start an actor.

        Returns:
            Its handle, at once; the actor is made as soon as there is room. An error of its constructor is raised by its calls.

        Raises:
            TypeError: The arguments do not fit the constructor, or can't be pickled.
            ActorAlreadyExistsError: Its name is taken.
        """
        self._signature.check(f"{self.__name__}.remote", args, kwargs)
        backend = current.active()
        if not self._handle_meta:
            self._handle_meta = _dump_table(self._table)
            _tables[self._handle_meta] = self._table
        spec = actor_spec(self._cls, self.__name__, self._handle_meta, self._options, backend, is_async=self._is_async)
        actor_id, handle_meta = backend.create_actor(spec, args, kwargs)
        return make_handle(actor_id, handle_meta, backend)

    def options(self, **options: Any) -> ActorClass[T]:
        """The same class with other options: `Counter.options(name="count").remote()`."""
        variant: ActorClass[T] = ActorClass(self._cls, {**self._options, **check_actor(options, in_options=True)})
        return variant

    def bind(self, *args: Any, **kwargs: Any) -> Any:
        """A node of a graph that runs when it is asked to: see `skate.dag`."""
        from skate.dag import ClassNode

        self._signature.check(f"{self.__name__}.bind", args, kwargs)
        return ClassNode(self, args, kwargs)

    if not TYPE_CHECKING:  # Type checkers say that it can't be called.

        def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
            name, call = self.__name__, shown_call(args, kwargs)
            raise TypeError(
                f"{name!r} is an actor class and can't be called directly: write {name}.remote({call}), not {name}({call})"
            )

    def __mro_entries__(self, bases: tuple[Any, ...]) -> NoReturn:
        raise TypeError(
            f"an actor class can't be subclassed: keep the plain class ({self.__name__}), derive from that, and write "
            f"skate.remote(Derived) for each class of which you want actors"
        )

    def __repr__(self) -> str:
        return f"<actor class {self.__module__}.{self.__qualname__}>"

    # As for RemoteFunction: state after existence, because a class's methods may name the actor class itself.
    def __reduce__(self) -> tuple[Any, ...]:
        return _empty_class, (), (self._cls, self._options)

    def __setstate__(self, state: tuple[Any, Any]) -> None:
        ActorClass.__init__(self, *state)


def _empty_class() -> ActorClass[Any]:
    return ActorClass.__new__(ActorClass)


def _constructor_signature(cls: type) -> Signature:
    constructor, maker = getattr(cls, "__init__"), getattr(cls, "__new__")  # noqa: B009
    if constructor is not object.__init__:
        return signature_of(constructor, skip_first=True)
    return Signature() if maker is object.__new__ else ANYTHING


# ---------------------------------------------------------------- handles


class _HandleState:
    """What a handle and its methods share; one count of the actor lives as long as it does. A class of its own because a class with
    `__getattr__`, as the handle's, has slow attributes."""

    __slots__ = ("actor_id", "backend", "drop", "handle_meta", "table", "tokens")

    def __init__(self, backend: Backend, actor_id: bytes, handle_meta: bytes) -> None:
        self.actor_id = actor_id
        self.drop = backend.drop_actor
        self.backend = backend
        self.handle_meta = handle_meta
        self.table = _load_table(handle_meta)
        self.tokens: dict[MethodEntry, Any] = {}  # The backend's.

    def __del__(self) -> None:
        try:
            drop = self.drop
        except AttributeError:  # The constructor failed.
            return
        drop(self.actor_id)

    def prepare(self, entry: MethodEntry) -> Any:
        if len(self.tokens) >= _TOKENS_MAX:
            self.tokens.clear()
        token = self.backend.prepare_method(self.actor_id, method_spec(entry.name, entry.num_returns, entry.options))
        self.tokens[entry] = token
        return token


class ActorHandle(Generic[T]):
    """Names an actor: `handle.method.remote(…)` calls it.

    Handles may travel in arguments, results and closures; they are equal when they name the same actor. When the last one is gone the
    actor finishes the calls it has and ends, unless it is detached.
    """

    __slots__ = ("__weakref__", "_skate")  # Everything else may be a method of the user's.

    def __init__(self, state: _HandleState) -> None:
        self._skate = state

    def __getattr__(self, name: str) -> ActorMethod:
        if name == "_skate":  # An unfinished object: its constructor, or copying, failed.
            raise AttributeError(name)
        table = self._skate.table
        entry = table.methods.get(name) or _BUILT_IN.get(name)
        if entry is None:
            hint = "" if name.startswith("_") else near(name, table.methods)
            raise AttributeError(f"actor class {table.class_name!r} has no method {name!r}{hint}", name=name, obj=self)
        return ActorMethod(entry, self)

    @property
    def _actor_id(self) -> ActorID:
        from skate._ids import ActorID

        return ActorID(self._skate.actor_id)

    _ray_actor_id = _actor_id

    def __dir__(self) -> list[str]:
        return sorted({*self._skate.table.methods, *_BUILT_IN})

    def __repr__(self) -> str:
        return f"Actor({self._skate.table.class_name}, {self._skate.actor_id.hex()})"

    def _repr_html_(self) -> str:
        from skate._cards import actor_card

        return actor_card(self._skate.table.class_name, self._skate.actor_id.hex())

    def __hash__(self) -> int:
        return hash(self._skate.actor_id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActorHandle) and other._skate.actor_id == self._skate.actor_id

    def __reduce__(self) -> tuple[Any, ...]:
        return self._skate.backend.reduce_actor(self._skate.actor_id, self._skate.handle_meta)

    def __copy__(self) -> ActorHandle[T]:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> ActorHandle[T]:
        return self


class ActorMethod:
    """One method of one actor; it keeps the actor as a handle does."""

    __slots__ = ("_entry", "_state")

    def __init__(self, entry: MethodEntry, handle: ActorHandle[Any]) -> None:
        self._entry = entry
        self._state = handle._skate

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Call the method in its actor. Calls of one caller run in the order they were made.

        Returns:
            A ref; a list of refs for `num_returns` above 1, None for 0, an `ObjectRefGenerator` for a generator.

        Raises:
            TypeError: The arguments do not fit the method, or can't be pickled.
            PendingCallsLimitExceeded: The actor has `max_pending_calls` calls waiting.
        """
        state, entry = self._state, self._entry
        if kwargs or not entry.least <= len(args) <= entry.most:
            entry.signature.check(f"{state.table.class_name}.{entry.name}.remote", args, kwargs)
        token = state.tokens.get(entry)
        if token is None:
            if entry.name == "__ray_terminate__":
                return state.backend.terminate_actor(state.actor_id)
            token = state.prepare(entry)
        if entry.num_returns == STREAMING:
            return ObjectRefGenerator(state.backend.call_actor(token, args, kwargs), state.backend)
        return state.backend.call_actor(token, args, kwargs)

    def options(self, **options: Any) -> ActorMethod:
        """The same method with other options for this call: `handle.read.options(concurrency_group="io").remote()`."""
        entry = self._entry
        key: Any = tuple(sorted(options.items(), key=_name_of))
        try:
            variant = entry.variants.get(key)
        except TypeError:  # A value that can't be hashed.
            key = variant = None
        if variant is None:
            checked = check_call(options)
            group, table = checked.get("concurrency_group"), self._state.table
            if group is not None and group not in table.groups:
                raise ValueError(
                    f"concurrency_group={group!r} is not one of {table.class_name}'s groups {list(table.groups)}{near(group, table.groups)}"
                )
            variant = entry.with_options(checked)
            if key is not None:
                if len(entry.variants) >= _VARIANTS_MAX:
                    entry.variants.clear()
                entry.variants[key] = variant
        method = ActorMethod.__new__(ActorMethod)
        method._entry, method._state = variant, self._state
        return method

    def bind(self, *args: Any, **kwargs: Any) -> Any:
        """A node of a graph that runs when it is asked to: see `skate.dag`."""
        from skate.dag import MethodNode

        self._entry.signature.check(f"{self._entry.name}.bind", args, kwargs)
        return MethodNode(self, args, kwargs)

    if not TYPE_CHECKING:  # Type checkers say that it can't be called.

        def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
            name, call = self._entry.name, shown_call(args, kwargs)
            raise TypeError(
                f"{name!r} is a method of an actor ({self._state.table.class_name}) and can't be called directly: "
                f"write handle.{name}.remote({call}), not handle.{name}({call})"
            )

    def __repr__(self) -> str:
        return f"<method {self._entry.name} of Actor({self._state.table.class_name}, {self._state.actor_id.hex()})>"


def _name_of(option: tuple[str, Any]) -> str:
    return option[0]


def make_handle(actor_id: bytes, handle_meta: bytes, backend: Backend | None = None) -> ActorHandle[Any]:
    """A handle in this process; for backends, too, when one arrives. It has been counted (`Backend.retain_actor`)."""
    state = _HandleState(backend if backend is not None else current.active(), actor_id, handle_meta)
    return state.table.handle_class(state)


# ---------------------------------------------------------------- functions


def get_actor(name: str, namespace: str | None = None) -> ActorHandle[Any]:
    """The handle of a named actor.

    Args:
        namespace: None: this program's.

    Raises:
        ValueError: There is none.
    """
    if not isinstance(name, str):
        raise TypeError(f"get_actor: the name is a string, not {name!r}")
    if not name:
        raise ValueError("get_actor: the name is empty; give the name the actor was made with: .options(name=…)")
    if namespace is not None and not isinstance(namespace, str):
        raise TypeError(f"get_actor: namespace is a string or None, not {namespace!r}")
    if namespace == "":
        raise ValueError("get_actor: namespace is empty; leave it out for this program's namespace")
    backend = current.active()
    actor_id, handle_meta = backend.get_named_actor(name, namespace or "")
    return make_handle(actor_id, handle_meta, backend)


def kill(actor: ActorHandle[Any], *, no_restart: bool = True) -> None:
    """End an actor at once: calls that run or wait fail, exit handlers do not run.

    Args:
        no_restart: False: the actor starts again, if it has `max_restarts` left.
    """
    if not isinstance(actor, ActorHandle):
        raise ValueError(f"kill takes an actor's handle, not {type(actor).__name__}; a task is ended by skate.cancel(ref)")
    actor._skate.backend.kill_actor(actor._skate.actor_id, no_restart=no_restart)


def exit_actor() -> NoReturn:
    """End the actor whose method this is: this call, and calls that wait, fail with ActorDiedError; exit handlers run; no restart.

    Raises:
        TypeError: Called outside of an actor.
    """
    backend = current.peek()
    if backend is None:
        raise TypeError("exit_actor was called outside of an actor: call it in a method of an actor class")
    backend.exit_actor()
    raise AssertionError("exit_actor returned")
