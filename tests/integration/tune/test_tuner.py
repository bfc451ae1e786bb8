"""Studies on real workers."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import skate
from skate import train, tune
from tests.integration.programs import REPOSITORY, start_program, wait_until


@pytest.fixture(scope="module", autouse=True)
def engine() -> Iterator[None]:
    with skate.init(num_cpus=3):
        yield


def _run(path: Path, **options: Any) -> tune.RunConfig:
    return tune.RunConfig(name="study", storage_path=path, verbose=0, **options)


def _square(config: dict[str, Any]) -> dict[str, float]:
    return {"loss": (config["x"] - 3) ** 2}


def test_the_best_of_a_grid_and_the_table(tmp_path: Path) -> None:
    results = tune.Tuner(
        _square,
        param_space={"x": tune.grid_search(list(range(8)))},
        tune_config=tune.TuneConfig("loss", "min"),
        run_config=_run(tmp_path),
    ).fit()
    assert len(results) == 8
    assert results.get_best_result().config == {"x": 3}
    frame = results.get_dataframe()
    assert sorted(frame["config/x"]) == list(range(8))
    assert results.get_best_result("loss", "max").config == {"x": 7}


def test_a_thousand_short_trials_take_seconds(tmp_path: Path) -> None:
    started = time.monotonic()
    config = tune.TuneConfig("loss", "min", num_samples=1000)
    results = tune.Tuner(_square, param_space={"x": tune.uniform(0, 9)}, tune_config=config, run_config=_run(tmp_path)).fit()
    assert time.monotonic() - started < 10
    assert len(results) == 1000
    assert results.num_terminated == 1000
    assert len({result.config["x"] for result in results}) == 1000


@pytest.mark.parametrize("short_first", [0, 9])
def test_as_many_trials_run_at_once_as_there_is_room_for(tmp_path: Path, short_first: int) -> None:
    """Also when trials so far were short, so that several travelled to one worker at a time."""

    def trial(config: dict[str, Any]) -> dict[str, float]:
        if config["x"] >= short_first:
            (meeting / str(config["x"])).touch()
            wait_until(lambda: len(list(meeting.iterdir())) == 3, 20)
        return {"loss": config["x"]}

    meeting = tmp_path / "meeting"
    meeting.mkdir()
    results = tune.Tuner(
        trial,
        param_space={"x": tune.grid_search(list(range(short_first + 3)))},
        tune_config=tune.TuneConfig("loss", "min"),
        run_config=_run(tmp_path),
    ).fit()
    assert not results.errors


def test_asha_ends_bad_trials_early(tmp_path: Path) -> None:
    def trial(config: dict[str, Any]) -> None:
        for step in range(27):
            tune.report({"loss": config["x"] + 1 / (step + 1)})

    scheduler = tune.ASHAScheduler(max_t=27, reduction_factor=3)
    config = tune.TuneConfig("loss", "min", scheduler=scheduler)
    results = tune.Tuner(
        trial, param_space={"x": tune.grid_search(list(range(18)))}, tune_config=config, run_config=_run(tmp_path)
    ).fit()
    steps = {result.config["x"]: result.metrics["training_iteration"] for result in results}
    assert steps[0] == 27
    assert sum(steps.values()) < 18 * 27 / 2
    assert results.get_best_result().config == {"x": 0}


class Climber(tune.Trainable):
    """Its height grows by lr. The first two steps are taken together by all of `trials`, so that none is at the end before the others begin."""

    def setup(self, config: dict[str, Any]) -> None:
        self.lr, self.height = config["lr"], 0.0
        self.meeting, self.trials = Path(config.get("meeting", "")), config.get("trials", 1)
        self.name, self.steps = uuid.uuid4().hex, 0

    def step(self) -> dict[str, Any]:
        self.steps += 1
        if self.steps <= 2 and self.trials > 1:
            (self.meeting / f"{self.steps}-{self.name}").touch()
            wait_until(lambda: len(list(self.meeting.glob(f"{self.steps}-*"))) >= self.trials)
        self.height += self.lr
        return {"height": self.height, "lr": self.lr}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        Path(checkpoint_dir, "height").write_text(str(self.height))

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        self.height = float(Path(checkpoint_dir, "height").read_text())


def test_pbt_exchanges_checkpoints(tmp_path: Path) -> None:
    scheduler = tune.PopulationBasedTraining(perturbation_interval=3, hyperparam_mutations={"lr": tune.uniform(0.01, 1)}, seed=3)
    config = tune.TuneConfig("height", "max", scheduler=scheduler)
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    space = {"lr": tune.grid_search([0.01, 0.02, 1.0]), "meeting": str(meeting), "trials": 3}
    results = tune.Tuner(
        Climber, param_space=space, tune_config=config,
        run_config=_run(tmp_path, stop={"training_iteration": 12}, checkpoint_config=tune.CheckpointConfig(num_to_keep=2)),
    ).fit()  # fmt: skip
    assert not results.errors
    assert all(result.metrics["training_iteration"] == 12 for result in results)
    heights = sorted(result.metrics["height"] for result in results)
    assert heights[0] > 0.12 * 1.5  # By itself the worst would come to 0.12.
    assert len(list((tmp_path / "study" / "trial_00000").glob("checkpoint_*"))) <= 2


_BRACKETS = {9: 5, 3: 6, 1: 6}  # max_t=9, factor 3, 17 trials: brackets of 9, 5 and 3; so many come to 9, 3 and 1 steps.


def test_hyperband_halves_full_brackets(tmp_path: Path) -> None:
    config = tune.TuneConfig("height", "max", scheduler=tune.HyperBandScheduler(max_t=9, reduction_factor=3))
    space = {"lr": tune.grid_search([number / 100 for number in range(1, 18)])}
    results = tune.Tuner(Climber, param_space=space, tune_config=config, run_config=_run(tmp_path)).fit()
    assert Counter(result.metrics["training_iteration"] for result in results) == _BRACKETS
    steps = {round(100 * result.config["lr"]): result.metrics["training_iteration"] for result in results}
    assert {lr for lr, reached in steps.items() if reached == 9} == {
        9,
        14,
        15,
        16,
        17,
    }  # The best of each bracket; all of the last.
    for result in results:  # A paused trial went on from its checkpoint: no step is missing or there twice.
        assert [row["height"] for row in result.metrics_history] == pytest.approx(
            [result.config["lr"] * (step + 1) for step in range(result.metrics["training_iteration"])]
        )


def test_a_hyperband_study_with_paused_trials_goes_on_after_the_driver_was_killed(tmp_path: Path) -> None:
    program = """
        import time
        from collections import Counter
        from pathlib import Path
        from skate import tune
        class Climber(tune.Trainable):
            def setup(self, config):
                self.lr, self.height = config["lr"], 0.0
            def step(self):
                time.sleep(0.02)
                self.height += self.lr
                return {"height": self.height}
            def save_checkpoint(self, directory):
                Path(directory, "height").write_text(str(self.height))
            def load_checkpoint(self, directory):
                self.height = float(Path(directory, "height").read_text())
        if __name__ == "__main__":
            results = tune.Tuner(
                Climber, param_space={"lr": tune.grid_search([number / 100 for number in range(1, 18)])},
                tune_config=tune.TuneConfig("height", "max", scheduler=tune.HyperBandScheduler(max_t=9, reduction_factor=3)),
                run_config=tune.RunConfig(name="study", storage_path=".", verbose=0),
            ).fit()
            print(dict(sorted(Counter(one.metrics["training_iteration"] for one in results).items(), reverse=True)))
    """
    first = start_program(program, tmp_path)
    journal = tmp_path / "study" / "journal.jsonl"
    wait_until(lambda: journal.exists() and journal.read_text().count('"report"') >= 20, timeout_s=20)
    first.kill()
    first.communicate()
    out, err = start_program(program, tmp_path).communicate(timeout=40)
    assert out == f"{_BRACKETS}\n", err


def test_hyperband_says_that_it_needs_checkpoints(tmp_path: Path) -> None:
    def trial(config: dict[str, Any]) -> None:
        for step in range(9):
            tune.report({"loss": step})

    config = tune.TuneConfig("loss", "min", num_samples=3, scheduler=tune.HyperBandScheduler(max_t=9))
    with pytest.raises(ValueError, match="has no checkpoint to go on from: report"):
        tune.Tuner(trial, tune_config=config, run_config=_run(tmp_path)).fit()


def test_a_failed_trial_is_tried_again_from_its_checkpoint_and_the_others_go_on(tmp_path: Path) -> None:
    def trial(config: dict[str, Any]) -> None:
        checkpoint = tune.get_checkpoint()
        start = int(Path(checkpoint.path, "step").read_text()) if checkpoint else 0
        for step in range(start, 6):
            if step == 3 and start == 0 and config["x"] == 1:
                raise ValueError("once")
            if step == 3 and start == 0 and config["x"] == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            if config["x"] == 4:
                raise KeyError("always")
            with tempfile.TemporaryDirectory() as directory:
                Path(directory, "step").write_text(str(step + 1))
                tune.report({"step": step}, checkpoint=tune.Checkpoint.from_directory(directory))

    run = _run(tmp_path, failure_config=tune.FailureConfig(max_failures=1))
    results = tune.Tuner(trial, param_space={"x": tune.grid_search([0, 1, 2, 3, 4])}, run_config=run).fit()
    by_x = {result.config["x"]: result for result in results}
    for x in range(4):
        assert [row["step"] for row in by_x[x].metrics_history] == list(range(6)), x
    assert by_x[1].failures == by_x[2].failures == 1
    assert results.num_errors == 1
    assert "KeyError: 'always'" in str(by_x[4].error)


def test_a_study_goes_on_after_the_driver_was_killed(tmp_path: Path) -> None:
    program = """
        import time
        from skate import tune
        def trial(config):
            with open("ran", "a") as file:
                file.write(f"{config['x']}\\n")
            time.sleep(0.05)
            return {"loss": config["x"]}
        if __name__ == "__main__":
            results = tune.Tuner(trial, param_space={"x": tune.grid_search(list(range(40)))}, tune_config=tune.TuneConfig("loss", "min"),
                run_config=tune.RunConfig(name="study", storage_path=".", verbose=0)).fit()
            print(len(results), results.get_best_result().config["x"], sorted(result.config["x"] for result in results) == list(range(40)))
    """
    first = start_program(program, tmp_path)
    journal = tmp_path / "study" / "journal.jsonl"
    wait_until(lambda: journal.exists() and journal.read_text().count('"end"') >= 8, timeout_s=20)
    first.kill()
    first.communicate()
    second = start_program(program, tmp_path)
    out, err = second.communicate(timeout=40)
    assert out == "40 0 True\n", err
    ran = (tmp_path / "ran").read_text().split()
    assert 40 <= len(ran) <= 46  # Those that had ended did not run again.


def test_a_trainer_is_tuned_with_its_workers(tmp_path: Path) -> None:
    def loop(config: dict[str, Any]) -> None:
        for step in range(3):
            train.report({"loss": (config["x"] - 1) ** 2 + step, "workers": train.get_context().get_world_size()})

    trainer = train.FunctionTrainer(loop, scaling_config=train.ScalingConfig(num_workers=2))
    results = tune.Tuner(
        trainer,
        param_space={"train_loop_config": {"x": tune.grid_search([0, 1, 2])}},
        tune_config=tune.TuneConfig("loss", "min"),
        run_config=_run(tmp_path),
    ).fit()
    best = results.get_best_result()
    assert best.config == {"train_loop_config": {"x": 1}}
    assert best.metrics["workers"] == 2
    assert [row["loss"] for row in best.metrics_history] == [0, 1, 2]


def test_resources_bound_how_many_run_at_once(tmp_path: Path) -> None:
    def trial(config: dict[str, Any]) -> dict[str, float]:
        started = time.time()
        time.sleep(0.1)
        return {"started": started, "ended": time.time()}

    results = tune.Tuner(
        tune.with_resources(trial, {"cpu": 1.5}), tune_config=tune.TuneConfig(num_samples=6), run_config=_run(tmp_path)
    ).fit()
    spans = [(one.metrics["started"], one.metrics["ended"]) for one in results]
    assert max(sum(start <= at < end for start, end in spans) for at, _ in spans) == 2
    with pytest.raises(ValueError, match="a trial needs 9 CPU, but there are 3 CPU"):
        tune.Tuner(tune.with_resources(trial, {"cpu": 9}), run_config=_run(tmp_path)).fit()


def test_restore_finds_the_study_and_its_settings(tmp_path: Path) -> None:
    tune.Tuner(
        _square,
        param_space={"x": tune.grid_search([1, 2])},
        tune_config=tune.TuneConfig("loss", "min"),
        run_config=_run(tmp_path),
    ).fit()
    state = tmp_path / "study" / "study.json"
    state.write_text(json.dumps({**json.loads(state.read_text()), "state": "RUNNING"}))
    assert tune.Tuner.can_restore(tmp_path / "study")
    results = tune.Tuner.restore(tmp_path / "study", _square).fit()
    assert results.get_best_result().config == {"x": 2}


def test_a_metric_that_was_not_reported_is_told_with_those_that_were(tmp_path: Path) -> None:
    results = tune.Tuner(_square, param_space={"x": 1}, run_config=_run(tmp_path)).fit()
    with pytest.raises(tune.TuneError, match=r"no trial reported 'accuracy'.*loss"):
        results.get_best_result("accuracy", "max")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: tune.Tuner(lambda: {"loss": 1}), "must take one argument, the config"),
        (lambda: tune.Tuner(train.FunctionTrainer), "make the trainer first"),
        (lambda: tune.Tuner(dict), "must derive from tune.Trainable"),
        (lambda: tune.Tuner(_square, param_space=[1]), "param_space must be a dict"),
        (lambda: tune.grid_search(3), r"grid_search\(\) takes a list"),
        (lambda: tune.choice("adam"), r"choice\(\) takes a list"),
    ],
)
def test_a_mistake_is_told_before_anything_starts(make: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        make()


def test_what_failed_is_told_where_the_best_is_asked_for(tmp_path: Path) -> None:
    results = tune.Tuner(lambda config: 3.0, tune_config=tune.TuneConfig("loss", "min"), run_config=_run(tmp_path)).fit()
    with pytest.raises(tune.TuneError, match="a trial returns a dict of metrics, such as"):
        results.get_best_result()


def test_the_page_of_a_study_has_an_axis_for_each_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published: dict[tuple[str, str], Any] = {}
    monkeypatch.setattr(skate, "publish", lambda kind, key, document: published.__setitem__((kind, key), document))

    def trial(config: dict[str, Any]) -> dict[str, float]:
        return {"loss": config["model"]["width"] * config["lr"]}

    space = {"model": {"width": tune.grid_search([1, 2]), "kind": "mlp"}, "lr": 0.5, "function": len}
    tune.Tuner(trial, param_space=space, tune_config=tune.TuneConfig("loss", "min"), run_config=_run(tmp_path)).fit()
    document = published["tune", "study"]
    assert (document["metric"], document["mode"], document["total"]) == ("loss", "min", 2)
    assert [one["config"] for one in document["trials"]] == [
        {"model/width": width, "model/kind": "mlp", "lr": 0.5, "function": "len"} for width in (1, 2)
    ]
    assert [one["metrics"]["loss"] for one in document["trials"]] == [0.5, 1.0]
    json.dumps(document)


def test_the_live_table_is_drawn_in_a_terminal(tmp_path: Path) -> None:
    """In a terminal of its own: trials, their settings and the metric, while the study runs."""
    program = """
        import time
        from skate import tune
        def trial(config):
            for step in range(5):
                time.sleep(0.1)
                tune.report({"loss": config["rate"] + step})
        if __name__ == "__main__":
            tune.Tuner(trial, param_space={"rate": tune.grid_search([1, 2, 3, 4])}, tune_config=tune.TuneConfig("loss", "min"),
                run_config=tune.RunConfig(name="study", storage_path=".")).fit()
    """
    (tmp_path / "program.py").write_text(textwrap.dedent(program))
    parent, child = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src"), "COLUMNS": "100", "TERM": "xterm"}
    process = subprocess.Popen(
        [sys.executable, "program.py"], cwd=tmp_path, env=environment, stdin=child, stdout=child, stderr=child
    )
    os.close(child)
    drawn = b""
    while True:
        try:
            drawn += os.read(parent, 65536)
        except OSError:  # The program has ended.
            break
    os.close(parent)
    assert process.wait(20) == 0, drawn.decode()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn.decode())
    assert "running" in text
    assert "4 of 4 trials: 4 terminated" in text
    assert "rate" in text and "loss" in text


def test_the_command_prints_a_studys_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from skate.cli.main import main

    tune.Tuner(
        _square,
        param_space={"x": tune.grid_search([1, 3])},
        tune_config=tune.TuneConfig("loss", "min"),
        run_config=_run(tmp_path),
    ).fit()
    assert main(["tune", str(tmp_path / "study")]) == 0
    assert "2 of 2 trials: 2 terminated" in capsys.readouterr().out
    assert main(["tune", str(tmp_path)]) != 0
    assert "there is no study in" in capsys.readouterr().err
