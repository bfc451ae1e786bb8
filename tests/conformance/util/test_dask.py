from __future__ import annotations

from typing import Any

import pytest

from skate.util.dask import enable_dask_on_ray, ray_dask_get

dask = pytest.importorskip("dask")


def add(*values: int) -> int:
    return sum(values)


def test_a_graph_of_tasks_gives_what_dask_gives(session: str) -> None:
    leaves = [dask.delayed(add)(x, 1) for x in range(10)]
    total: Any = dask.delayed(add)(*leaves, dask.delayed(add)(leaves[0], leaves[1]))

    assert total.compute(scheduler=ray_dask_get) == total.compute(scheduler="sync") == 58


def test_several_keys_and_nested_collections(session: str) -> None:
    with enable_dask_on_ray():
        assert dask.compute(dask.delayed(add)(1), [dask.delayed(add)(2), {"a": dask.delayed(add)(3)}]) == (1, [2, {"a": 3}])


def test_a_failing_node_raises_its_error(session: str) -> None:
    failing: Any = dask.delayed(lambda: 1 / 0)()
    with pytest.raises(ZeroDivisionError):
        failing.compute(scheduler=ray_dask_get)
