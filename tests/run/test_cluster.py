"""On a cluster: what is submitted, taken up again, submitted once more or given up; Slurm itself is played."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bench.errors import BenchError
from bench.params import Cell, Params
from bench.progress import State
from bench.run import cluster, slurm
from bench.run.pipeline import Task
from bench.run.runner import Outcome
from tests.tiny import seeds, tiny

CE, L1, SSIM = (Task(Cell("digits", "simple_cnn", loss, 12)) for loss in ("ce", "prototype-l1", "prototype-ssim"))
SECONDS = {CE: 1.0, L1: 3.0, SSIM: 2.0}


class Played:
    """A Slurm in which every job that is submitted has the next end of its task's list at once.

    Ends: a sentence or None as its result, or a state of `squeue` without a result.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.ends: dict[Task, list[str | None]] = {}
        self.arrays: list[list[Task]] = []
        self.cancelled: list[str] = []
        self.queued: dict[str, slurm.Queued] | None = {}
        self.results: dict[str, slurm.Ended] = {}
        self.progress: dict[Task, list[int]] = {}  # trainings told after each submission
        patch.setattr(slurm, "submit", self.submit)
        patch.setattr(slurm, "queue", lambda: self.queued)
        patch.setattr(slurm, "ended", lambda folder: set(self.results))
        patch.setattr(slurm, "result", lambda folder, job: self.results[job])
        patch.setattr(slurm, "cancel", self.cancelled.extend)
        patch.setattr(Task, "recorded_by", lambda task, params: {"processor": None})
        for name in ("LOOK_EVERY_S", "ASK_EVERY_S", "GRACE_S", "STILL_S"):
            patch.setattr(cluster, name, 0.0)

    def submit(
        self, params: Params, notes: Mapping[Task, Path], folder: Path, name: str, at_a_time: int | None
    ) -> list[str]:
        self.arrays.append(list(notes))
        jobs = [f"{len(self.arrays)}_{index}" for index in range(len(notes))]
        assert self.queued is not None
        for (task, note), job in zip(notes.items(), jobs, strict=True):
            if told := self.progress.get(task):
                note.write_text(State(9, told.pop(0), 0, 1).to_json())
            ends = self.ends.get(task, [None])
            end = ends.pop(0) if ends else None
            if end in slurm.ENDED or end in ("PENDING", "RUNNING"):
                self.queued[job] = slurm.Queued(name, str(end), 0, "a reason")
            else:
                self.results[job] = slurm.Ended(1.0, end)
        return jobs


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Played:
    return Played(monkeypatch)


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    monkeypatch.chdir(tmp_path)
    return profile()


def profile(**changes: Any) -> Params:
    """Three cells."""
    grid = {"dataset": ["digits"], "backbone": ["simple_cnn"], "resolution": [12]}
    losses = {"loss": ["ce", "prototype-l1", "prototype-ssim"], "seeds": seeds(2)}
    return tiny({"grid": grid | losses, "slurm": {"time": 10}} | changes)


def detached(params: Params, seconds: Mapping[Task, float] = SECONDS) -> Outcome:
    """A display that looks once and ends, as after Ctrl-C."""
    return cluster.train(params, seconds, None, time_limit_s=-1.0)


def noted() -> dict[str, dict[str, object]]:
    """What is in Slurm's hands."""
    path = Path("runs/.slurm/tiny/jobs.json")
    return json.loads(path.read_text()) if path.exists() else {}


def test_one_array_the_longest_first_and_one_that_fails_stops_no_other(params: Params, played: Played) -> None:
    played.ends[SSIM] = ["no"]
    outcome = cluster.train(params, SECONDS, 2)
    assert played.arrays == [[L1, SSIM, CE]]
    assert (set(outcome.finished), outcome.failed, outcome.cut_off) == ({L1, CE}, {SSIM: "no"}, "")
    assert noted() == {}


def test_the_same_call_takes_jobs_up_and_submits_none_twice(
    params: Params, played: Played, capsys: pytest.CaptureFixture[str]
) -> None:
    played.ends = {task: ["RUNNING"] for task in SECONDS}
    assert detached(params).cut_off == "time limit reached"
    assert "the jobs go on; the same command takes the display up again\n" in capsys.readouterr().err
    assert cluster.in_hands(params, [CE, L1]) == [CE, L1]
    played.results = {"1_0": slurm.Ended(1.0, None), "1_1": slurm.Ended(1.0, "no"), "1_2": slurm.Ended(1.0, None)}
    assert cluster.in_hands(params, [CE, L1]) == []
    outcome = cluster.train(params, SECONDS, None)
    assert len(played.arrays) == 1
    assert (set(outcome.finished), outcome.failed) == ({L1, CE}, {SSIM: "no"})
    assert "3 are in Slurm's hands already" in capsys.readouterr().err


def test_jobs_of_other_tasks_stay_noted(params: Params, played: Played) -> None:
    played.ends = {task: ["RUNNING"] for task in SECONDS}
    detached(params)
    detached(params, {CE: 1.0})
    assert set(noted()) == {task.name for task in SECONDS}


def test_a_call_killed_before_slurm_answered_finds_its_jobs_by_their_name(params: Params, played: Played) -> None:
    played.ends = {task: ["RUNNING"] for task in SECONDS}
    detached(params)
    entries = {name: entry | {"job": None} for name, entry in noted().items()}
    Path("runs/.slurm/tiny/jobs.json").write_text(json.dumps(entries))
    detached(params)
    assert len(played.arrays) == 1
    assert {name: entry["job"] for name, entry in noted().items()} == {L1.name: "1_0", SSIM.name: "1_1", CE.name: "1_2"}
    Path("runs/.slurm/tiny/jobs.json").write_text(json.dumps(entries))
    played.queued, played.ends = {}, {}
    assert set(cluster.train(params, SECONDS, None).finished) == set(SECONDS)
    assert len(played.arrays) == 2
    Path("runs/.slurm/tiny/jobs.json").write_text(json.dumps(entries))
    played.queued = None
    with pytest.raises(BenchError, match="controller does not answer; the same command goes on"):
        cluster.train(params, SECONDS, None)


def test_jobs_with_other_parameters_are_cancelled_and_submitted_anew(params: Params, played: Played) -> None:
    played.ends = {CE: ["RUNNING"]}
    detached(params, {CE: 1.0})
    cluster.train(profile(epochs=2), {CE: 1.0}, None)
    assert (played.cancelled, played.arrays) == (["1_0"], [[CE], [CE]])


def test_jobs_of_cells_that_left_the_profile_are_cancelled(params: Params, played: Played) -> None:
    played.ends = {task: ["RUNNING"] for task in SECONDS}
    detached(params)
    grid = params.grid.model_dump() | {"loss": ["ce"]}
    detached(profile(grid=grid), {CE: 1.0})
    assert (sorted(played.cancelled), set(noted())) == (["1_0", "1_1"], {CE.name})


def test_where_slurm_does_not_answer_nothing_is_forgotten(
    params: Params, played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object) -> list[str]:
        raise slurm.NoAnswerError

    with monkeypatch.context() as patch:
        patch.setattr(slurm, "submit", lost)
        with pytest.raises(slurm.NoAnswerError):
            detached(params, {CE: 1.0})
    entry = noted()[CE.name]
    assert entry["job"] is None
    played.queued = {"9_0": slurm.Queued(str(entry["array"]), "RUNNING", 0, "")}  # it had been taken
    detached(params, {CE: 1.0})
    assert (played.arrays, noted()[CE.name]["job"]) == ([], "9_0")
    monkeypatch.setattr(slurm, "cancel", lost)
    with pytest.raises(slurm.NoAnswerError):
        detached(profile(epochs=2), {CE: 1.0})
    assert (played.arrays, noted()[CE.name]["job"]) == ([], "9_0")


@pytest.mark.parametrize("content", ["", '{"a": 1}', '{"a": {"array": "b"}}', "[]"])
def test_damaged_notes_are_one_sentence(content: str, params: Params, played: Played) -> None:
    path = Path("runs/.slurm/tiny/jobs.json")
    path.parent.mkdir(parents=True)
    path.write_text(content)
    for call in (lambda: cluster.in_hands(params, [CE]), lambda: detached(params)):
        with pytest.raises(BenchError, match=r"jobs\.json is damaged, so that .* and remove runs/\.slurm/tiny$"):
            call()


def test_a_preemption_is_no_fault_of_the_cells(params: Params, played: Played) -> None:
    played.ends = {CE: ["PREEMPTED", "PREEMPTED", "NODE_FAIL", "PREEMPTED", None]}
    assert cluster.train(params, {CE: 1.0}, None).finished == [CE]
    assert len(played.arrays) == 5


def test_a_job_without_a_result_is_submitted_once_more(
    params: Params, played: Played, capsys: pytest.CaptureFixture[str]
) -> None:
    played.ends = {CE: ["NODE_FAIL", None], L1: ["OUT_OF_MEMORY", "OUT_OF_MEMORY"], SSIM: ["CANCELLED"]}
    outcome = cluster.train(params, SECONDS, None)
    assert played.arrays == [[L1, SSIM, CE], [L1, CE]]
    assert outcome.finished == [CE]
    assert outcome.failed[SSIM] == "its job 1_1 was cancelled"
    assert outcome.failed[L1].startswith("its job 2_0 ended (OUT_OF_MEMORY) without a result, 2 times; raise slurm.mem")
    assert f"again: {CE.name}: its job 1_2 ended (NODE_FAIL) without a result\n" in capsys.readouterr().err


def test_a_job_that_gets_further_each_time_is_not_given_up(params: Params, played: Played) -> None:
    played.ends = {CE: ["TIMEOUT", "TIMEOUT", "TIMEOUT", None]}
    played.progress = {CE: [1, 2, 3]}
    assert cluster.train(params, {CE: 1.0}, None).finished == [CE]
    assert len(played.arrays) == 4


def test_a_job_that_cannot_be_submitted_again_has_failed(
    params: Params, played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    played.ends = {CE: ["RUNNING"]}
    detached(params, {CE: 1.0})
    played.queued = {}

    def full(*_: object) -> list[str]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(slurm, "submit", full)
    outcome = cluster.train(params, {CE: 1.0}, None)
    assert outcome.failed[CE].endswith("cannot be submitted again: [Errno 28] No space left on device")


def test_what_stands_still_is_said_once(
    params: Params, played: Played, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    played.ends = {CE: ["PENDING"]}
    answers = iter([{"1_0": slurm.Queued("x", "PENDING", 0, "drained")}, None, None])
    now = {"1_0": slurm.Queued("x", "RUNNING", 1, "")}

    def queue() -> dict[str, slurm.Queued] | None:
        time.sleep(0.001)
        found = next(answers, now)
        if found is now:
            played.results["1_0"] = slurm.Ended(1.0, None)
        return found

    monkeypatch.setattr(slurm, "queue", queue)
    cluster.train(params, {CE: 1.0}, None)
    said = [line.partition(" | ")[2] for line in capsys.readouterr().err.splitlines()]
    assert said[1:] == [
        "nothing runs: Slurm says drained",
        "Slurm's controller does not answer; the jobs go on without it",
        f"requeued: {CE.name}, behind 0 finished trainings",
        "Slurm runs jobs again",
        f"done: {CE.name} in 1 s",
    ]
