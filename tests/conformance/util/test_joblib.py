from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from skate.util.joblib import register_ray, register_skate

joblib = pytest.importorskip("joblib")


def fail(x: int) -> None:
    raise KeyError(x)


@pytest.fixture(params=["skate", "ray"], ids=["as-skate", "as-ray"])
def joblib_backend(request: pytest.FixtureRequest, session: str) -> str:
    register_skate()
    register_ray()
    return str(request.param)


def test_results_come_in_order(joblib_backend: str) -> None:
    with joblib.parallel_backend(joblib_backend, n_jobs=2):
        assert joblib.Parallel()(joblib.delayed(math.sqrt)(x * x) for x in range(200)) == list(map(float, range(200)))


def test_a_large_array_is_shared(joblib_backend: str) -> None:
    array = np.ones(100_000)
    with joblib.parallel_config(joblib_backend, n_jobs=2):
        assert joblib.Parallel()(joblib.delayed(np.sum)(array) for _ in range(6)) == [100_000.0] * 6


def test_an_error_ends_the_call_and_the_next_one_works(joblib_backend: str) -> None:
    with joblib.parallel_backend(joblib_backend, n_jobs=2):
        with pytest.raises(KeyError):
            joblib.Parallel()(joblib.delayed(fail)(x) for x in range(20))
        assert joblib.Parallel()(joblib.delayed(abs)(x) for x in (-1, 2)) == [1, 2]


def test_results_as_a_generator(joblib_backend: str) -> None:
    with joblib.parallel_backend(joblib_backend, n_jobs=2):
        results: Any = joblib.Parallel(return_as="generator")(joblib.delayed(abs)(x) for x in range(10))
        assert list(results) == list(range(10))
