"""`ActorGroup`: equal actors that are called all together. Kept for programs that use it; a list of handles does the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import skate


class ActorGroup:
    """`num_actors` actors of one class. `group.method.remote(…)` calls all of them and returns the list of refs.

    Args:
        actor_cls: A plain class.
        init_args, init_kwargs: For its constructor.
        Resources: For each actor.
    """

    def __init__(
        self,
        actor_cls: type,
        num_actors: int = 1,
        num_cpus_per_actor: float = 1,
        num_gpus_per_actor: float = 0,
        resources_per_actor: dict[str, float] | None = None,
        init_args: tuple[Any, ...] | None = None,
        init_kwargs: dict[str, Any] | None = None,
    ) -> None:
        if num_actors <= 0:
            raise ValueError(f"num_actors must be above zero, got {num_actors}")
        if num_cpus_per_actor < 0 or num_gpus_per_actor < 0:
            raise ValueError("resources of an actor must not be negative")
        options: dict[str, Any] = {"num_cpus": num_cpus_per_actor, "num_gpus": num_gpus_per_actor}
        if resources_per_actor:
            options["resources"] = resources_per_actor
        self._class: Any = skate.remote(actor_cls).options(**options)
        self._arguments = (init_args or (), init_kwargs or {})
        self.actors: list[Any] = []
        self.add_actors(num_actors)

    def add_actors(self, num_actors: int) -> None:
        args, kwargs = self._arguments
        self.actors += [self._class.remote(*args, **kwargs) for _ in range(num_actors)]

    def remove_actors(self, indexes: list[int]) -> None:
        self.actors = [actor for index, actor in enumerate(self.actors) if index not in indexes]

    def shutdown(self, patience_s: float = 5) -> None:
        """End the actors: those that do not end by themselves in time are killed."""
        actors, self.actors = self.actors, []
        ended = [actor.__ray_terminate__.remote() for actor in actors]
        _, alive = skate.wait(ended, num_returns=len(ended), timeout=patience_s) if ended else ([], [])
        for actor, ref in zip(actors, ended, strict=True):
            if ref in alive:
                skate.kill(actor)

    def __getattr__(self, name: str) -> _GroupMethod:
        if name.startswith("_"):
            raise AttributeError(name)
        return _GroupMethod(lambda *args, **kwargs: [getattr(actor, name).remote(*args, **kwargs) for actor in self.actors])

    def __len__(self) -> int:
        return len(self.actors)

    def __getitem__(self, index: int) -> Any:
        return self.actors[index]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.actors)


class _GroupMethod:
    def __init__(self, call: Callable[..., list[Any]]) -> None:
        self.remote = call
