"""The classes stand in for pandas' own."""

from __future__ import annotations

import copy
import inspect
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import pandas
import pandas.testing
import pytest

import skate.pandas as pd


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame({"a": [1, 2, 3], "b": ["x", None, "z"]}, index=[3, 4, 5])


def test_a_frame_is_a_frame_of_pandas(frame: pd.DataFrame) -> None:
    assert isinstance(frame, pandas.DataFrame)
    assert isinstance(frame.a, pandas.Series)
    assert type(frame[frame.a > 1]) is pd.DataFrame
    assert type(frame.a + 1) is pd.Series
    assert type(frame.groupby("b").a.sum()) is pd.Series
    assert type(frame.a.to_frame()) is pd.DataFrame


def test_a_frame_made_by_pandas_itself_counts_as_ours() -> None:
    assert isinstance(pandas.DataFrame(), pd.DataFrame)
    assert issubclass(pandas.Series, pd.Series)
    assert not isinstance([1], pd.DataFrame)


def test_a_users_subclass_is_told_apart() -> None:
    class Mine(pd.DataFrame):
        @property
        def _constructor(self) -> type:
            return Mine

    mine = Mine({"a": [1, 2]})
    assert isinstance(mine, Mine)
    assert type(mine[mine.a > 1]) is Mine
    assert not isinstance(pd.DataFrame(), Mine)


def test_everything_that_pandas_exports_is_there() -> None:
    missing = [name for name in dir(pandas) if not hasattr(pd, name)]
    assert missing == []
    assert pd.errors is pandas.errors
    assert pd.api is pandas.api
    with pytest.raises(AttributeError, match="no attribute 'nonsense', nor has pandas"):
        _ = pd.nonsense


def test_submodules_can_be_imported() -> None:
    from skate.pandas.api.types import is_numeric_dtype
    from skate.pandas.testing import assert_frame_equal

    assert is_numeric_dtype("int64")
    assert assert_frame_equal is pandas.testing.assert_frame_equal
    with pytest.raises(ModuleNotFoundError):
        import skate.pandas.nonsense  # noqa: F401


def test_a_pickle_needs_no_skate(frame: pd.DataFrame) -> None:
    data = pickle.dumps(frame)
    assert b"skate" not in data
    pandas.testing.assert_frame_equal(pickle.loads(data), frame.to_pandas())
    pandas.testing.assert_series_equal(pickle.loads(pickle.dumps(frame.b)), frame.b.to_pandas())


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda frame: frame.copy()])
def test_copies_are_ours_and_apart(frame: pd.DataFrame, duplicate: object) -> None:
    other = duplicate(frame)  # type: ignore[operator]
    other.loc[3, "a"] = 100
    assert type(other) is pd.DataFrame
    assert frame.a.tolist() == [1, 2, 3]


def test_to_pandas_and_back_share_memory_but_not_changes(frame: pd.DataFrame) -> None:
    plain = frame.to_pandas()
    assert type(plain) is pandas.DataFrame
    ours = pd.from_pandas(plain)
    assert type(ours) is pd.DataFrame
    ours.loc[3, "a"] = 100
    assert plain.a.tolist() == frame.a.tolist() == [1, 2, 3]
    with pytest.raises(TypeError, match="this is a list"):
        pd.from_pandas([1])


def test_readers_in_chunks_give_our_frames(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a,b\n1,2\n3,4\n5,6\n")
    with pd.read_csv(path, chunksize=2) as reader:
        assert [type(chunk) for chunk in reader] == [pd.DataFrame, pd.DataFrame]


def test_a_script_that_imports_pandas_is_accelerated(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import sys\nimport pandas as pd\nprint(hasattr(pd.DataFrame(), 'to_pandas'), sys.argv[1:], __name__)\n")
    run = subprocess.run([sys.executable, "-m", "skate.pandas", str(script), "x"], capture_output=True, text=True, check=True)
    assert run.stdout == "True ['x'] __main__\n"


def test_install_can_be_taken_back() -> None:
    before = pandas.DataFrame, pandas.read_csv
    pd.install()
    try:
        assert pandas.DataFrame is pd.DataFrame
        assert type(pandas.concat([pandas.DataFrame({"a": [1]})])) is pd.DataFrame
    finally:
        pd.uninstall()
    assert (pandas.DataFrame, pandas.read_csv) == before


def test_polars_and_arrow_come_and_go(frame: pd.DataFrame) -> None:
    import polars
    import pyarrow

    table = pyarrow.table(frame)
    assert table.column("a").to_pylist() == [1, 2, 3]
    assert polars.from_pandas(frame).columns == ["a", "b"]
    ours = pd.from_polars(polars.DataFrame({"a": [1, 2]}).lazy())
    assert type(ours) is pd.DataFrame
    assert ours.a.tolist() == [1, 2]
    with pytest.raises(TypeError, match="this is a dict"):
        pd.from_polars({})


def test_an_unknown_version_of_pandas_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from skate.pandas.versions import check_versions

    monkeypatch.setattr(pandas, "__version__", "2.2.3")
    with pytest.raises(ImportError, match=r"works with pandas >= 3.1 .* this is pandas 2.2.3"):
        check_versions()


def test_chained_assignment_warns_as_in_pandas() -> None:
    frame = pd.DataFrame({"a": [1.0, None], "b": [1, 2]})
    with pytest.warns(pandas.errors.ChainedAssignmentError) as caught:
        frame[0:1]["a"] = 5.0
    assert caught[0].filename == __file__
    for method in ("fillna", "where", "mask"):
        with pytest.warns(pandas.errors.ChainedAssignmentError) as caught:
            getattr(frame["a"], method)(0.0 if method == "fillna" else frame["b"] > 1, inplace=True)
        assert caught[0].filename == __file__
    column = frame["a"]
    with warnings.catch_warnings():
        warnings.simplefilter("error", pandas.errors.ChainedAssignmentError)
        frame["a"] = 1.0
        column.fillna(0.0, inplace=True)


def test_signatures_are_those_of_pandas() -> None:
    for name in ("sum", "count", "median"):
        assert inspect.signature(getattr(pd.Series, name)) == inspect.signature(getattr(pandas.Series, name))
