"""What is handed to submitit, and what its answers mean."""

import re
import subprocess
import time
from pathlib import Path

import cloudpickle
import pytest
from submitit.core.utils import UncompletedJobError

from bench.errors import BenchError
from bench.params import Cell, Params, load
from bench.progress import State
from bench.run import slurm, worker
from bench.run.pipeline import Task
from bench.run.run import run
from tests.tiny import tiny

ROOT = Path(__file__).parents[2]
CE, L1 = (Task(Cell("digits", "simple_cnn", loss, 12)) for loss in ("ce", "prototype-l1"))


def command(folder: Path, name: str, text: str) -> None:
    """A command of Slurm's that does this."""
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """A profile, in a folder with a Slurm that takes everything."""
    for name in ("srun", "squeue"):
        command(tmp_path / "bin", name, "exit 1")
    command(tmp_path / "bin", "sbatch", 'cp "$1" submitted.sh; echo Submitted batch job 7')
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    return tiny(
        {"slurm": {"time": 30, "cpus": 4, "memory": 8, "partition": "gpu", "gpus": 1, "constraint": "a100|h100"}}
    )


def submitted(params: Params, *tasks: Task) -> tuple[list[str], list[str]]:
    """The jobs, and the options that Slurm was given."""
    notes = {task: Path(f"{task.name}.json") for task in tasks}
    jobs = slurm.submit(params, notes, Path("jobs"), "a-name", at_a_time=2)
    return jobs, Path("submitted.sh").read_text().splitlines()


def test_an_array_gets_what_the_profile_says(params: Params) -> None:
    jobs, lines = submitted(params, CE, L1)
    assert jobs == ["7_0", "7_1"]
    options = {line.removeprefix("#SBATCH --") for line in lines if line.startswith("#SBATCH")}
    assert options >= {"array=0-1%2", "time=30", "cpus-per-task=4", "mem=8GB", "gpus-per-node=1", "partition=gpu"}
    assert options >= {"constraint='a100|h100'", "job-name=a-name", "requeue", "signal=USR2@90"}
    assert "--cpus-per-task=4" in lines[-1]


def test_a_single_task_is_no_array(params: Params) -> None:
    assert submitted(params, CE)[0] == ["7"]


def test_what_slurm_refuses_is_one_sentence_and_ended_in_case_it_was_taken(params: Params, tmp_path: Path) -> None:
    command(tmp_path / "bin", "sbatch", "echo sbatch: error: invalid partition specified: gpu >&2; exit 1")
    command(tmp_path / "bin", "scancel", "echo $@ > cancelled")
    command(tmp_path / "bin", "squeue", "exit 0")
    with pytest.raises(BenchError, match=r"^Slurm refuses the jobs: .*invalid partition specified: gpu$"):
        submitted(params, CE)
    assert Path("cancelled").read_text() == "--name=a-name\n"
    command(tmp_path / "bin", "squeue", "exit 1")
    with pytest.raises(slurm.NoAnswerError):
        submitted(params, CE)


def test_jobs_are_not_said_to_be_cancelled_where_nobody_answers(params: Params, tmp_path: Path) -> None:
    command(tmp_path / "bin", "scancel", "exit 1")
    slurm.cancel([])
    with pytest.raises(slurm.NoAnswerError):
        slurm.cancel(["7_0"])
    command(tmp_path / "bin", "squeue", "exit 0")
    slurm.cancel(["7_0"])  # it had ended


def test_without_slurm_or_its_section_nothing_begins(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BenchError, match=r"params.yaml: --slurm needs the section slurm, with time"):
        run(tiny({}), None, None, on_slurm=True)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(BenchError, match="there is no sbatch here"):
        run(params, None, None, on_slurm=True)


def test_the_page_begins_with_commands_whose_profiles_say_what_a_job_gets(params: Params, tmp_path: Path) -> None:
    page = (ROOT / "docs/cluster.md").read_text(encoding="utf-8").split("```")[1]
    profiles = re.findall(r"python -m bench \w+ --slurm --params (\S+)", page)
    assert len(profiles) == 2
    command(tmp_path / "bin", "squeue", "exit 0")
    for profile in profiles:
        slurm.check(load(ROOT / profile, ROOT))


def test_the_queue_is_read_and_a_controller_that_is_away_is_none(params: Params, tmp_path: Path) -> None:
    assert slurm.queue() is None
    command(tmp_path / "bin", "squeue", "echo '7_1|a-name|PENDING|0|Resources|'; echo '7_0|a-name|RUNNING|2|None|'")
    assert slurm.queue() == {
        "7_1": slurm.Queued("a-name", "PENDING", 0, "Resources"),
        "7_0": slurm.Queued("a-name", "RUNNING", 2, "None"),
    }


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (BenchError("its loss is not finite"), "its loss is not finite"),
        (OSError(28, "No space left on device"), "OSError: [Errno 28] No space left on device"),
        (UncompletedJobError("…"), "no seed was finished within slurm.time, 30 min: raise it"),
    ],
)
def test_what_goes_wrong_in_a_job_is_a_sentence(
    error: Exception, sentence: str, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(*_: object) -> float:
        raise error

    monkeypatch.setattr(worker, "work", work)
    assert slurm.Job(params, CE, Path("note"))().failure == sentence


class KilledBySlurm(BaseException):
    """What comes while it sleeps."""


def test_a_job_that_is_being_requeued_leaves_no_result(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slurm's SIGTERM reaches submitit's own `scontrol requeue`, and the job a moment later."""

    def work(*_: object) -> float:
        raise subprocess.CalledProcessError(-15, ["scontrol", "requeue", "18_0"])

    def killed(seconds: float) -> None:
        raise KilledBySlurm

    monkeypatch.setattr(worker, "work", work)
    monkeypatch.setattr(time, "sleep", killed)
    with pytest.raises(KilledBySlurm):
        slurm.Job(params, CE, Path("note"))()
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # nobody came
    assert "scontrol" in str(slurm.Job(params, CE, Path("note"))().failure)


def test_a_job_at_its_time_limit_goes_on_behind_its_last_seed_if_it_had_one(params: Params) -> None:
    note = Path("note.json").absolute()
    job = slurm.Job(params, CE, note, finished=0, began=time.monotonic() - 30 * 60)
    assert job.checkpoint() is None
    note.write_text(State(3, 1, 0, 4).to_json())
    again = job.checkpoint()
    assert again is not None
    assert again.function == slurm.Job(params, CE, note, finished=1)
    assert slurm.Job(params, CE, note, finished=1, began=time.monotonic() - 30 * 60).checkpoint() is None
    preempted = slurm.Job(params, CE, note, finished=1, began=time.monotonic() - 60).checkpoint()
    assert preempted is not None
    in_a_minute = tiny({"slurm": {"time": 1}})
    assert slurm.Job(in_a_minute, CE, note, finished=1, began=time.monotonic() - 10).checkpoint() is not None
    assert slurm.Job(in_a_minute, CE, note, finished=1, began=time.monotonic() - 45).checkpoint() is None


def test_results_are_those_of_submitit(params: Params) -> None:
    folder = Path("jobs").absolute()
    jobs, _ = submitted(params, CE, L1)
    assert slurm.ended(folder) == set()
    contents = ("success", slurm.Ended(2.0, None)), ("error", "Traceback\nKeyError: 'x'\n")
    for job, content in zip(jobs, contents, strict=True):
        with (folder / f"{job}_0_result.pkl").open("wb") as file:
            cloudpickle.dump(content, file)
    assert slurm.ended(folder) == set(jobs)
    assert slurm.result(folder, jobs[0]) == slurm.Ended(2.0, None)
    assert slurm.result(folder, jobs[1]) == slurm.Ended(0.0, "KeyError: 'x'")
    assert slurm.log(folder, jobs[0]) == Path("jobs/7_0_0_log.out")
