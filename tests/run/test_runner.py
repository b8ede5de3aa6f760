"""The runner: what it trains and in which order, what it survives, and what it tells DVC."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from bench import display
from bench.errors import BenchError
from bench.files import written_aside
from bench.params import Cell, Params
from bench.progress import Progress, State
from bench.run import pipeline, runner
from bench.run.pipeline import Task
from bench.run.runner import Outcome, train
from tests.tiny import tiny

LOSSES = ("ce", "prototype-l1", "prototype-l2", "prototype-ssim")
TASKS = [Task(Cell("digits", "simple_cnn", loss, 12)) for loss in LOSSES]
CE, L1, L2, SSIM = TASKS


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    monkeypatch.chdir(tmp_path)
    return tiny({})


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tasks run in a thread of this process."""

    @contextmanager
    def threads(jobs: int) -> Iterator[Executor]:
        with ThreadPoolExecutor(jobs) as executor:
            yield executor
            executor.shutdown(cancel_futures=True)

    monkeypatch.setattr(runner, "here", threads)
    monkeypatch.setattr(runner, "LOOK_EVERY_S", 0.01)


@pytest.fixture
def begun(here: None, monkeypatch: pytest.MonkeyPatch) -> list[Task]:
    """The tasks in the order in which they begin; none takes time, and prototype-l2 fails."""
    order: list[Task] = []

    def work(params: Params, task: Task, note: Path) -> float:
        order.append(task)
        with written_aside(note) as aside:
            aside.write_text(State(2, 1, 3, 4).to_json())
        if task == L2:
            raise BenchError("no")
        return 1.0

    monkeypatch.setattr(runner, "work", work)
    return order


def test_the_longest_comes_first_and_one_that_fails_stops_no_other(
    params: Params, begun: list[Task], capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = train(params, {CE: 1, L1: 4, L2: 3, SSIM: 2}, jobs=1)
    assert begun == [L1, L2, SSIM, CE]
    assert (set(outcome.finished), outcome.failed) == ({L1, SSIM, CE}, {L2: "no"})
    said = capsys.readouterr().err
    assert "| failed: digits-simple_cnn-prototype-l2-12: no\n" in said
    assert "3 of 4 done, 1 failed, about 0 s left | " in said


def test_an_error_of_any_kind_is_that_cells_alone(params: Params, here: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def work(params: Params, task: Task, note: Path) -> float:
        if task == L1:
            raise ZeroDivisionError("by zero")
        return 1.0

    monkeypatch.setattr(runner, "work", work)
    assert train(params, {CE: 1, L1: 2}, jobs=2) == Outcome([CE], {L1: "ZeroDivisionError: by zero"})


def test_the_time_limit_cuts_off_what_is_left(params: Params, here: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "work", lambda params, task, note: 1.0 if task == CE else time.sleep(1.5) or 1.5)
    outcome = train(params, {CE: 2, L1: 1, L2: 0.5}, jobs=1, time_limit_s=1.0)
    assert outcome == Outcome([CE], {}, "time limit reached")


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """Ctrl-C as in the foreground: a shell's background job inherits it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interruptible")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_keep_what_has_finished(
    number: int, params: Params, here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, sent = threading.Event(), threading.Event()

    def work(params: Params, task: Task, note: Path) -> float:
        if task == CE:
            return 1.0
        first.set()
        sent.wait()  # on a busy machine it can be late
        time.sleep(0.3)
        return 1.0

    monkeypatch.setattr(runner, "work", work)
    threading.Thread(target=lambda: (first.wait(), time.sleep(0.1), os.kill(os.getpid(), number), sent.set())).start()
    outcome = train(params, {CE: 2, L1: 1, L2: 0.5}, jobs=1)
    assert (outcome.finished, outcome.failed, outcome.cut_off) == ([CE], {}, "interrupted")


def die_or_work(params: Params, task: Task, note: Path) -> float:
    """Kill the process of prototype-l1, every time; count how often each task begins."""
    with Path(f"{task.cell.loss}.begun").open("a") as file:
        file.write("x")
    with written_aside(note) as aside:
        aside.write_text(State(1, 0, 0, 1).to_json())
    if task == L1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.2)
    return 0.2


def test_a_task_whose_process_dies_twice_has_failed_and_the_others_finish(
    params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "work", die_or_work)
    outcome = train(params, {CE: 1, L1: 3, SSIM: 2}, jobs=1)
    assert outcome.failed == {L1: "its process was killed; too little memory?"}
    assert sorted(outcome.finished) == sorted([CE, SSIM])
    assert Path("prototype-l1.begun").read_text() == "xx"


ORPHANS = """
from multiprocessing.context import BaseContext
from tests.run.test_runner import CE, sleep_long
from tests.tiny import tiny
from bench.run import runner
BaseContext.set_forkserver_preload = lambda context, modules: None  # not needed, and seconds of imports
runner.work = sleep_long
runner.train(tiny({}), {CE: 1}, jobs=1)
"""


def sleep_long(params: Params, task: Task, note: Path) -> float:
    """Say who I am, and go on for longer than any test."""
    Path("worker.pid").write_text(str(os.getpid()))
    time.sleep(100)
    return 100.0


def test_a_killed_runner_leaves_no_worker_behind(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen([sys.executable, "-c", ORPHANS], cwd=tmp_path, env=environment)
    note = tmp_path / "worker.pid"
    try:
        _until(lambda: note.is_file() and note.read_text() != "", 120)
    finally:
        process.kill()
        process.wait()
    worker = int(note.read_text())
    _until(lambda: not _alive(worker), 30)


STARTING = """
import os, signal, time
from multiprocessing import forkserver
from multiprocessing.context import BaseContext
from bench.run import pool
preload = BaseContext.set_forkserver_preload
BaseContext.set_forkserver_preload = lambda context, modules: preload(context, ["slow"])
pool.warm_up()
while not os.path.exists("importing"):
    time.sleep(0.01)
os.kill(forkserver._forkserver._forkserver_pid, signal.SIGINT)
with pool.here(1) as workers:
    print(workers.submit(abs, -1).result())
"""


def test_a_ctrl_c_is_not_for_the_server_of_the_workers(tmp_path: Path) -> None:
    """It imports for seconds, and its traceback would stand on the terminal."""
    (tmp_path / "slow.py").write_text("import time\nopen('importing', 'w')\ntime.sleep(1)\n")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(__file__).parents[2]}"}
    command = [sys.executable, "-c", STARTING]
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "1\n", "")


def _until(what: Any, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def _alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False


def test_the_time_left_follows_the_pace_of_what_is_done() -> None:
    shown = display.Display({"a": 10, "b": 10, "c": 20}, 2)
    assert shown.left_s() == 20
    shown.done("a", 30)  # three times as long as expected
    assert shown.left_s() == 45
    shown.running({"c": State(2, 1, 0, 10)})  # half of it
    assert shown.left_s() == 30
    shown.failed("b", "no")
    assert shown.left_s() == 15


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (48.4, "48 s"), (99, "99 s"), (720, "12 min"), (12000, "3 h 20 min")]
)
def test_a_duration_for_readers(seconds: float, words: str) -> None:
    assert display.duration(seconds) == words


def test_a_log_says_now_and_then_what_is_running(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(display, "LOG_EVERY_S", 0.0)
    with display.Display({"a": 10}, 1) as shown:
        shown.running({"a": State(2, 1, 3, 4)})
    assert capsys.readouterr().err == "0 of 1 done, about 1 s left | running: a (training 2 of 2, step 3/4)\n"


def test_progress_counts_trainings_and_steps() -> None:
    seen: list[State] = []
    progress = Progress(seen.append, trainings=3, steps=4, done=1)
    progress.tick(1, 1)
    progress.seed_done()
    assert seen == [State(3, 1, 0, 4), State(3, 1, 1, 4), State(3, 2, 0, 4)]
    assert [state.share for state in seen] == [1 / 3, 1.25 / 3, 2 / 3]
    assert State.from_json(seen[1].to_json()) == seen[1]


def test_what_was_made_by_something_else_is_not_recorded(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded: list[str] = []
    monkeypatch.setattr(pipeline, "load", lambda _: params)
    monkeypatch.setattr(pipeline, "tasks", lambda _: TASKS)
    monkeypatch.setattr(pipeline, "_commit", recorded.extend)
    monkeypatch.setattr(pipeline.Task, "present", lambda task, params: {**MADE_BY, "code": "now"})
    for task, code in ((CE, "now"), (L1, "before")):
        (params.runs / task.cell.name).mkdir(parents=True)
        (params.runs / task.cell.name / "provenance.json").write_text(json.dumps({**MADE_BY, "code": code}))
    with pytest.raises(BenchError, match=r"not recorded; run them again:\ndigits-.*-l1-12: code changed while it ran"):
        pipeline.record(params, [CE, L1])
    assert recorded == ["cell@digits-simple_cnn-ce-12"]


MADE_BY = {"parameters": {}, "versions": {}, "data": "", "code": ""}


def _cut_off_while_recording(params: Params, *, killed: bool) -> None:
    with pytest.MonkeyPatch.context() as patch, suppress(InterruptedError), pipeline._lock_file_kept(params):
        if killed:  # nothing that would come after runs
            patch.setattr(pipeline, "mend", lambda params: None)
        Path("dvc.lock").write_text("ha")
        raise InterruptedError


def test_a_lock_file_that_was_being_written_is_taken_back(params: Params) -> None:
    lock = Path("dvc.lock")
    lock.write_text("whole")
    _cut_off_while_recording(params, killed=False)
    assert lock.read_text() == "whole"
    lock.write_text("of another")  # since then: nothing may take it back
    pipeline.mend(params)
    assert lock.read_text() == "of another"
    _cut_off_while_recording(params, killed=True)
    assert lock.read_text() == "ha"
    pipeline.mend(params)
    assert lock.read_text() == "of another"
    with pipeline._lock_file_kept(params):
        lock.write_text("new")
    pipeline.mend(params)
    assert lock.read_text() == "new"


def test_a_half_written_first_lock_file_is_removed(params: Params) -> None:
    _cut_off_while_recording(params, killed=False)
    assert not Path("dvc.lock").exists()
    _cut_off_while_recording(params, killed=True)
    pipeline.mend(params)
    assert not Path("dvc.lock").exists()
    pipeline.mend(params)


def test_a_second_run_waits_and_says_so(params: Params, capsys: pytest.CaptureFixture[str]) -> None:
    entered = threading.Event()

    def second() -> None:
        with pipeline.only_runner():
            entered.set()

    with pipeline.only_runner():
        waiting = threading.Thread(target=second)
        waiting.start()
        assert not entered.wait(0.3)
    waiting.join(10)
    assert entered.is_set()
    assert capsys.readouterr().err == "another run is at work here: waiting for it to end\n"


def test_a_dvc_that_outlives_its_run_keeps_the_next_waiting(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("dvc").write_text("#!/bin/sh\ntouch begun\nsleep 0.5\ntouch ended\n")
    Path("dvc").chmod(0o755)
    monkeypatch.setattr(sys, "executable", "./dvc")
    left = threading.Thread(target=pipeline._dvc)
    with pipeline.only_runner():
        left.start()
        _until(Path("begun").exists, 10)
    assert not Path("ended").exists()
    with pipeline.only_runner():
        assert Path("ended").exists()
    left.join()


@pytest.mark.parametrize(
    ("changes", "reasons"),
    [
        ([], []),
        ([{"changed deps": {"bench/cell": "modified", "batchcam": "modified"}}], ["bench/cell", "batchcam"]),
        ([{"changed deps": {"params.yaml": {"weights.ce": "modified"}}}], ["weights.ce"]),
        ([{"changed deps": {"data/digits.safetensors": "deleted"}}], []),
        ([{"changed deps": {"data/digits.safetensors": "modified"}}], ["data/digits.safetensors"]),
        ([{"changed outs": {"runs/tiny/x": "deleted"}}, "changed command"], ["runs/tiny/x", "command"]),
    ],
)
def test_the_reasons_that_dvc_gives_in_words(changes: list[Any], reasons: list[str]) -> None:
    assert pipeline._reasons(changes) == reasons


def test_a_question_leaves_no_pipeline_behind_and_a_run_does(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    """`dvc pull` without arguments wants the outputs of every pipeline that lies there."""
    elsewhere = params.model_copy(update={"root": "../..", "params_file": "profiles/tiny/params.yaml"})
    place = Path("profiles/tiny/dvc.yaml")
    place.parent.mkdir(parents=True)
    Path("dvc.yaml").write_text("stages: {}\n")
    seen = []
    monkeypatch.setattr(pipeline, "_status", lambda params: seen.append(place.exists()) or {})
    pipeline.states(elsewhere)
    assert (seen, place.exists()) == ([True], False)
    pipeline.link(elsewhere)
    pipeline.states(elsewhere)
    assert place.exists()


def test_the_state_of_a_task(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    stale = [{"changed deps": {"bench/cell": "modified"}}]
    monkeypatch.setattr(pipeline.Task, "present", lambda task, params: MADE_BY)
    assert pipeline._state(params, CE, None) == "ok"
    assert pipeline._state(params, CE, stale) == "missing"
    params.failure_file(CE.cell).parent.mkdir(parents=True)
    params.failure_file(CE.cell).write_text("no\n")
    assert pipeline._state(params, CE, stale) == "failed: no"
    folder = params.runs / CE.cell.name
    folder.mkdir(parents=True)
    assert pipeline._state(params, CE, stale) == "stale: bench/cell changed"
    (folder / "provenance.json").write_text(json.dumps(MADE_BY))
    assert pipeline._state(params, CE, stale) == "finished, not recorded"
    (folder / "provenance.json").write_text("[")
    assert pipeline._state(params, CE, stale) == "stale: bench/cell changed"
