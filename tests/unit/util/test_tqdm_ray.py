from __future__ import annotations

import io
import json

import pytest

from skate.experimental import tqdm_ray


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> tqdm_ray.Bars:
    bars = tqdm_ray.Bars(Terminal())
    monkeypatch.setattr(tqdm_ray, "_bars", bars)
    monkeypatch.setattr(tqdm_ray, "DRAW_S", 0.0)
    monkeypatch.setattr(tqdm_ray, "PRINT_S", 0.0)
    return bars


def output(bars: tqdm_ray.Bars) -> str:
    stream = bars._stream
    assert isinstance(stream, io.StringIO)
    return stream.getvalue()


def test_a_bar_in_the_driver_is_drawn(bars: tqdm_ray.Bars) -> None:
    assert list(tqdm_ray.tqdm(range(4), desc="work")) == [0, 1, 2, 3]

    assert "work:  25%|" in output(bars)
    assert "4/4" in output(bars)


def test_a_bar_in_a_worker_prints_one_line_for_each_state(
    bars: tqdm_ray.Bars, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tqdm_ray, "_is_worker", lambda: True)
    with tqdm_ray.tqdm(total=2, desc="work") as bar:
        bar.update()

    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith(tqdm_ray.MAGIC) for line in lines)
    assert [json.loads(line[len(tqdm_ray.MAGIC) :])["x"] for line in lines] == [0, 1, 1]
    for line in lines:
        assert tqdm_ray.take_state(line) is None
    assert "1/2" in output(bars)


def test_other_lines_and_text_before_a_state_are_left_to_the_printer(bars: tqdm_ray.Bars) -> None:
    assert tqdm_ray.take_state("plain text") == "plain text"
    state = '{"id":"1","desc":"","total":2,"x":1,"pid":1,"pos":0,"closed":false,"start_s":0}'
    assert tqdm_ray.take_state("text" + tqdm_ray.MAGIC + state) == "text"
    assert tqdm_ray.take_state(tqdm_ray.MAGIC + "{torn") == tqdm_ray.MAGIC + "{torn"


def test_bars_leave_the_screen_while_text_is_printed(bars: tqdm_ray.Bars) -> None:
    tqdm_ray.tqdm(total=2)
    with bars.hidden():
        assert output(bars).endswith("\x1b[1A\x1b[J")
    assert output(bars).endswith("\n")
