"""read_csv as a scan: the same dtypes and rows as pandas' reader gives, also where late rows change what the first ones promised."""

from __future__ import annotations

import contextlib
import gzip
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas
import pytest
from hypothesis import HealthCheck, given, settings as hypothesis_settings, strategies as st

import skate.pandas as pd
from skate.pandas import csvscan, lazy


@pytest.fixture(autouse=True)
def _scanned(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(pd.settings, "check", True)
    monkeypatch.setattr(pd.settings, "rows_min", 1)
    monkeypatch.setattr(pd.settings, "file_bytes_min", 1)
    monkeypatch.setattr(csvscan, "_SNIFF_ROWS", 3)
    yield


def written(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


USUAL = "n,x,s\n1,1.5,a\n2,2.5,b\n3,,c\n"


def both(path: Path, **options: Any) -> tuple[Any, Any]:
    return pd.read_csv(path, **options), pandas.read_csv(path, **options)


def filtered(frame: Any) -> Any:
    return frame[frame["n"] > 0][["n", "s"]]


def same(ours: Any, theirs: Any) -> None:
    pandas.testing.assert_frame_equal(ours.to_pandas(), theirs, check_index_type=False)


def test_a_scan_is_planned_and_reads_what_is_needed(tmp_path: Path) -> None:
    ours, theirs = both(written(tmp_path / "a.csv", USUAL + "4,4.5,d\n"))
    made = filtered(ours)
    assert lazy.planned(made) is not None
    assert "PROJECT 2/3" in pd.explain(made).replace("*/3", "2/3")
    assert len(made) == 4
    same(made, filtered(theirs))
    same(ours, theirs)


@pytest.mark.parametrize(
    "late",
    ["4.5,1,d", "NA,1,d", ",1,d", "x,1,d", "4,x,d", "4,1e5,d", "4,inf,d", "99999999999999999999,1,d", " 4,1,d", '"4","1",d', "4,1,5", "4,1,1e3", "4,1,True",
     "4,1,NA", '4,1,""', '4,1,"x,y"', '4,1,"a""b"', "4,1", "", "  ", "4,1,d\n\n5,1,e", "4,1,a\0b", "4,1,d\r", "0x1A,1,d", "1_0,1,d", "+4,1,d", "4,1,é"],
)  # fmt: skip
def test_late_rows_are_what_they_are_in_pandas(tmp_path: Path, late: str) -> None:
    path = written(tmp_path / "a.csv", USUAL + late + "\n")
    try:
        theirs = pandas.read_csv(path)
        wanted = filtered(theirs)
    except Exception as error:
        with pytest.raises(type(error)):
            filtered(pd.read_csv(path)).to_pandas()
        return
    same(filtered(pd.read_csv(path)), wanted)
    same(pd.read_csv(path), theirs)
    assert pd.read_csv(path).dtypes.tolist() == theirs.dtypes.tolist()
    pandas.testing.assert_series_equal(pd.read_csv(path).groupby("s")["x"].max().to_pandas(), theirs.groupby("s")["x"].max())


def test_too_many_fields_are_pandas_own_error(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", USUAL + "4,1,d,e\n")
    with pytest.raises(pandas.errors.ParserError, match="Expected 3 fields in line 5, saw 4"):
        filtered(pd.read_csv(path)).to_pandas()
    with pytest.raises(pandas.errors.ParserError, match="Expected 3 fields in line 5, saw 4"):
        len(pd.read_csv(path))
    skipped = pd.read_csv(path, on_bad_lines="skip")
    same(skipped, pandas.read_csv(path, on_bad_lines="skip"))


@pytest.mark.parametrize(
    "options",
    [{"sep": ","}, {"usecols": ["s", "n"]}, {"dtype": {"n": "float32"}}, {"nrows": 2}, {"index_col": "n"}, {"header": None}, {"skiprows": 1}, {"na_values": ["a"]},
     {"names": ["p", "q", "r"]}, {"usecols": [0, 2]}, {"engine": "python"}, {"encoding": "latin-1"}, {"parse_dates": ["s"]}],
)  # fmt: skip
def test_options(tmp_path: Path, options: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours, theirs = both(written(tmp_path / "a.csv", USUAL + "4,4.5,d\n"), **options)
        same(ours, theirs)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "a\n1\n2\n3\n",
        "\ufeffa,b\n1,2\n3,4\n5,6\n",
        "a,a\n1,2\n3,4\n5,6\n",
        "a,b\n1,2,3\n4,5,6\n7,8,9\n",
        "a,b\r1,2\r3,4\r5,6\r",
    ],
)
def test_strange_files(tmp_path: Path, text: str) -> None:
    path = written(tmp_path / "a.csv", text)
    try:
        theirs = pandas.read_csv(path)
    except Exception as error:
        with pytest.raises(type(error), match=str(error)[:20]):
            pd.read_csv(path)
        return
    same(pd.read_csv(path), theirs)


def test_what_is_compressed_or_missing_is_pandas_own(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(USUAL.encode()))
    same(*both(tmp_path / "a.csv.gz"))
    with pytest.raises(FileNotFoundError, match=r"nothing.csv"):
        pd.read_csv(tmp_path / "nothing.csv")
    with pytest.raises(FileNotFoundError, match=r"nothing-\*.csv"):
        pd.read_csv(tmp_path / "nothing-*.csv")
    with pd.read_csv(written(tmp_path / "a.csv", USUAL), chunksize=2) as chunks:
        assert type(next(iter(chunks))) is pd.DataFrame


def test_several_files_and_patterns(tmp_path: Path) -> None:
    paths = [written(tmp_path / f"part-{i}.csv", USUAL) for i in range(3)]
    wanted = pandas.concat([pandas.read_csv(path) for path in paths], ignore_index=True)
    same(pd.read_csv(tmp_path / "part-*.csv"), wanted)
    same(pd.read_csv(paths), wanted)


def test_a_changed_file_is_an_error(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", USUAL + "4,4.5,d\n")
    made = filtered(pd.read_csv(path))
    written(path, USUAL)
    with pytest.raises(pd.SourceChangedError, match=r"a\.csv was changed after read_csv"):
        made.to_pandas()


_CELLS = {
    "n": st.sampled_from(["1", "2", "-3", "0", "007", "4.0", "", "NA", "x", "12345678901234567890"]),
    "x": st.sampled_from(["1.5", "2", "-0.25", "1e3", "", "nan", "inf", "NULL", "y", " 1.5"]),
    "s": st.sampled_from(["a", "bb", "", "NA", "1", "1.5", "True", '"q,r"', '"two\nlines"', '""', "é", "2020-01-01", " a"]),
}  # fmt: skip


@hypothesis_settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.fixed_dictionaries(_CELLS), min_size=0, max_size=5), st.sampled_from(["\n", "\r\n"]))
def test_made_up_files(tmp_path: Path, rows: list[dict[str, str]], end: str) -> None:
    path = tmp_path / "made.csv"
    path.write_bytes((USUAL.replace("\n", end) + "".join(",".join(row.values()) + end for row in rows)).encode())
    theirs = pandas.read_csv(path)
    for select in (lambda df: df[df["s"] != "a"][["n", "x", "s"]], lambda df: df[df["x"].notna()], lambda df: df[["n"]]):
        with contextlib.suppress(TypeError):
            same(select(pd.read_csv(path)), select(theirs))
    same(pd.read_csv(path), theirs)
