"""The command line: python -m bench …

Each command imports what it needs when it runs, so that `--help` answers at once.
"""

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from bench.errors import BenchError, about_memory
from bench.names import BACKBONES, DATASETS, LOSSES


class Commands(TyperGroup):
    """The commands; what the user can mend is told in one line on stderr, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named; exit with 1 after a `BenchError`, with 130 after an interruption."""
        try:
            return super().invoke(ctx)
        except (BenchError, OSError) as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            typer.echo("interrupted: the same command resumes", err=True)
            raise typer.Exit(130) from None
        except (MemoryError, RuntimeError) as error:
            if not about_memory(error):
                raise
            typer.echo(f"error: too little memory; smaller images or batches need less ({error})", err=True)
            raise typer.Exit(1) from None


app = typer.Typer(cls=Commands, no_args_is_help=True, add_completion=False, rich_markup_mode=None)


@app.callback()
def suite() -> None:
    """The Batch-CAM benchmark suite. Run it from the repository's root."""


Dataset = Annotated[str, typer.Argument(help=", ".join(DATASETS))]
Backbone = Annotated[str, typer.Argument(help=", ".join(BACKBONES))]
Loss = Annotated[str, typer.Argument(help="; ".join(f"{loss.name}: {loss.about}" for loss in LOSSES.values()))]
Resolution = Annotated[int, typer.Argument(help="Side of the images, px")]
ParamsFile = Annotated[Path, typer.Option("--params", help="The profile's parameters")]


@app.command()
def prepare(
    name: Dataset,
    directory: Annotated[Path, typer.Option(help="Where the file goes")] = Path("data"),
) -> None:
    """Fetch, verify and split one dataset.

    Reads: for digits, what scikit-learn ships. For mnist and fashion_mnist the four official files, each checked by
    hash, from the first place that has it: DIRECTORY/raw, where earlier downloads stay; the mirror named by the
    environment variable BATCHCAM_DATA_MIRROR, a directory or an http or https address with MNIST/raw/… and
    FashionMNIST/raw/… below it; torchvision's mirrors.

    Writes: DIRECTORY/NAME.safetensors, with uint8 images (N,28,28) and labels (N,) of each split.
    """
    from bench.cell.data import PARTS, load
    from bench.prepare.datasets import prepare

    path = prepare(name, directory)
    counts = [f"{len(split.labels):,} {part}" for part, split in zip(PARTS, load(path)[:3], strict=True)]
    typer.echo(f"{path}: {', '.join(counts)}")


@app.command()
def check() -> None:
    """Check the parameters of every profile.

    DVC makes commands and paths of all of them. `plan`, `run` and `repro` check them before they call DVC; every stage
    whose command holds parameters does so first, for those who call DVC themselves.

    Reads: params.yaml and profiles/*/params.yaml. Writes: nothing.
    """
    from bench.params import check_all

    if not check_all():
        raise BenchError("there is no params.yaml here: run this from the repository's root")


@app.command()
def plan(
    params: ParamsFile = Path("params.yaml"),
    *,
    time: Annotated[bool, typer.Option("--time", help="Say what the rest costs here: time, memory and disk")] = False,
    slurm: Annotated[bool, typer.Option("--slurm", help="The same on a cluster, by the cells that are here")] = False,
    jobs: Annotated[int | None, typer.Option(help="Cells side by side", min=1)] = None,
) -> None:
    """Check a profile's parameters, and say of each cell and sweep whether it has to run, and why.

    With --time a few steps are measured, and the sum is said: time, memory and disk. With --slurm the steps are those
    that the provenance of earlier cells tells of, and only others are measured. Either prepares datasets first that are
    missing.

    Reads: the parameters, dvc.lock and runs/PROFILE; with --time or --slurm, what `prepare` reads and all of runs/.
    Writes: nothing, or data/; prints a line for each: ok, missing, failed, stale (with what has changed), or finished
    but not recorded; and where it is so, that it comes from another machine or from other versions of the libraries.
    """
    from bench.params import load
    from bench.run import pipeline

    checked = load(params)
    if (time or slurm) and pipeline.lacks_data(checked):
        with pipeline.only_runner():
            pipeline.prepare_data(checked)
    states = pipeline.states(checked)
    for task, state in states.items():
        other = pipeline.elsewhere(checked, task)
        typer.echo(f"{task.name}: {state}{f' ({other})' if other else ''}")
    to_do = [task for task, state in states.items() if state not in (pipeline.OK, pipeline.UNRECORDED)]
    typer.echo(f"profile {checked.profile}: {len(states)} cells and sweeps, {len(to_do)} to train")
    if pipeline.MISSING in states.values():
        typer.echo("Of what is missing `run` trains only what no remote has; store/ is one.")
    if (time or slurm) and to_do:
        from bench.run.cost import cost, described
        from bench.run.pool import here
        from bench.run.run import JOBS

        with here(jobs or JOBS) as executor:
            needed = cost(checked, to_do, executor, by_earlier=slurm)
        typer.echo(described(needed, jobs if slurm else jobs or JOBS))


@app.command()
def run(
    params: ParamsFile = Path("params.yaml"),
    jobs: Annotated[
        int | None, typer.Option(help="Cells side by side: 2; on Slurm, all it has room for", min=1)
    ] = None,
    time_limit: Annotated[float | None, typer.Option(help="Minutes after which to stop", min=0)] = None,
    *,
    sweeps: Annotated[bool, typer.Option("--sweeps", help="The sweeps alone, to choose weights from")] = False,
    slurm: Annotated[bool, typer.Option("--slurm", help="As jobs of a Slurm cluster: docs/cluster.md")] = False,
) -> None:
    """Train every cell and sweep of a profile that is missing or stale, the longest first, and record them in DVC.

    Datasets are prepared first. A cell that fails does not stop the others. Interrupted, at its time limit or killed, a
    run loses at most the seeds under way: the same command resumes. Two runs in one folder: the second waits.

    With --slurm each is an element of a job array, with what the profile's `slurm` says. An interruption ends the
    display alone: the jobs go on, and the same command takes them up again.

    Reads: the parameters and what `prepare` reads. Writes: data/, runs/PROFILE and the profile's dvc.lock.
    """
    from bench.params import load
    from bench.run.run import run as run_all

    limit_s = None if time_limit is None else 60 * time_limit
    typer.echo(run_all(load(params), jobs, limit_s, sweeps_alone=sweeps, on_slurm=slurm))


@app.command()
def repro(params: ParamsFile = Path("params.yaml")) -> None:
    """Do what is left of a profile's pipeline, by `dvc repro`: the cells that `run` did not train, tables, figures.

    Two at a time in one folder: the second waits, as with `run`.

    Reads: the parameters, dvc.lock and what the stages depend on. Writes: what they make.
    """
    from bench.params import load
    from bench.run.run import repro as repro_all

    repro_all(load(params))


@app.command()
def cell(
    dataset: Dataset,
    backbone: Backbone,
    loss: Loss,
    resolution: Resolution,
    params: ParamsFile = Path("params.yaml"),
    seeds: Annotated[int | None, typer.Option(help="How many, other than the profile's; needs --output", min=1)] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda, other than the profile's; needs --output")] = None,
    output: Annotated[Path | None, typer.Option(help="Where to, other than runs/PROFILE/CELL")] = None,
) -> None:
    """Train and test one backbone with one loss at one resolution.

    The profile says how (device, threads, epochs, weights …); the cell need not be one of its grid, and a resolution
    that the profile does not have is trained as its nearest. An interrupted cell resumes after its last finished seed.

    Reads: the parameters and data/DATASET.safetensors.

    Writes: a directory with metrics.json (a row per seed), maps.safetensors (each class's mean map, and examples),
    images.safetensors (the map metrics of single images), provenance.json and, where the profile says so, the weights.
    """
    # Before torch starts its threads: let those that wait sleep. Spinning, two threads beside another process on two
    # cores trained SimpleCNN four times slower (298 against 1,136 images/s).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from bench.params import load

    checked = load(params).for_cell(dataset, backbone, loss, resolution, seeds, device)
    if output is None and (seeds is not None or device is not None):
        raise BenchError("--seeds and --device need --output: runs/ holds cells as the profile has them")
    (chosen,) = checked.cells()
    if output is not None and output.exists() and not (output / "metrics.json").is_file():
        raise BenchError(f"--output {output} is there and holds no cell: name a directory that is not there yet")

    from bench.display import watched
    from bench.run.cells import run_cell

    directory = output or checked.runs / chosen.name
    with watched(chosen.name) as watch:
        run_cell(checked, chosen, directory, watch)
    typer.echo(f"{directory}: {chosen.name}")


@app.command()
def sweep(
    dataset: Dataset,
    backbone: Backbone,
    loss: Loss,
    resolution: Resolution,
    params: ParamsFile = Path("params.yaml"),
) -> None:
    """Train one loss with every weight of the profile's sweep, and try each on the validation split.

    An interrupted sweep resumes after its last finished training.

    Reads: the parameters and data/DATASET.safetensors. Writes: runs/PROFILE/sweep-….json, a row per weight and seed.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # see `cell`
    from bench.display import watched
    from bench.params import Cell, load
    from bench.run.room import check_room
    from bench.run.sweep import run_sweep

    checked, chosen = load(params), Cell(dataset, backbone, loss, resolution)
    if checked.sweep_of(chosen) is not None:  # else `run_sweep` says so
        check_room(checked, chosen, swept=True)
    with watched(f"sweep {chosen.name}") as watch:
        typer.echo(run_sweep(checked, chosen, watch))


@app.command()
def bounds(
    dataset: Dataset,
    params: ParamsFile = Path("params.yaml"),
) -> None:
    """Floors and ceilings of the reconstruction metrics on one dataset.

    Reads: the parameters and data/DATASET.safetensors. Writes: runs/PROFILE/bounds-DATASET.csv.
    """
    from bench.bounds import write_bounds
    from bench.params import load

    _check_dataset(dataset)
    typer.echo(write_bounds(load(params), dataset))


@app.command()
def grids(dataset: Dataset) -> None:
    """The grid of every backbone's map at every resolution, and the best that a map of it can reach on a dataset.

    Reads: data/DATASET.safetensors. Writes: nothing; prints the table of docs/backbones.md.
    """
    from bench.bounds import grids_table

    _check_dataset(dataset)
    typer.echo(grids_table(dataset))


@app.command()
def time(
    device: Annotated[Any, typer.Argument(help="cpu or cuda")],
    params: ParamsFile = Path("params.yaml"),
) -> None:
    """Time maps and training steps on one device, against loops and other libraries; minutes to an hour, by profile.

    Whatever else runs on the machine meanwhile is measured as well. An interrupted run resumes after its last finished
    group.

    Reads: the parameters. Writes: runs/PROFILE/timing-DEVICE.json, in pytest-benchmark's format, and the same into
    results/PROFILE.
    """
    from bench.params import load
    from bench.timing.run import run

    for path in run(load(params), params, device):
        typer.echo(path)


@app.command()
def collect(params: ParamsFile = Path("params.yaml")) -> None:
    """Gather all cells of a profile into one tidy table, all timings into another; what is missing is a row there.

    Reads: the parameters and runs/PROFILE. Writes: results/PROFILE/cells.csv, trainings.csv, epochs.csv,
    bounds.csv, timing.csv, sweep.csv and, for `dvc metrics`, metrics/.
    """
    from bench.params import load
    from bench.report.collect import collect

    for path in collect(load(params)):
        typer.echo(path)


@app.command()
def report(params: ParamsFile = Path("params.yaml")) -> None:
    """Make the tables and figures of a profile, and the verdict on every claim.

    Reads: results/PROFILE/{cells,epochs,bounds,timing,sweep}.csv, runs/PROFILE and the datasets. Writes:
    results/PROFILE/tables, figures, claims.csv, claims.md and README.md.
    """
    from bench.report.page import report

    report(params)


@app.command()
def notebooks(params: ParamsFile = Path("params.yaml")) -> None:
    """Execute the notebooks with the results of a profile, side by side; a few seconds.

    Reads: notebooks/*.py, results/PROFILE, runs/PROFILE and the datasets. Writes: results/PROFILE/notebooks/*.ipynb.
    """
    from bench.notebooks import execute
    from bench.params import load

    for path in execute(load(params)):
        typer.echo(path)


@app.command()
def ledger() -> None:
    """One answer for each question, over all profiles that have results, and the page that shows them all.

    Reads: results/*, the parameters and docs/choices.md. Writes:
    results/ledger.csv, ledger.md, README.md, times.md and report.html, which needs no other file.
    """
    from bench.html.page import write as write_page
    from bench.report.ledger import read, trainings_of, write
    from bench.report.times import write as write_times

    profiles, results = read(), Path("results")
    written = [*write(profiles, results), write_times(trainings_of(profiles), results / "times.md")]
    for path in [*written, write_page(profiles, results / "report.html")]:
        typer.echo(path)


@app.command()
def regress(
    *,
    update: Annotated[bool, typer.Option("--update", help="Write a new expectation instead")] = False,
    expectation: Annotated[Path | None, typer.Option(help="Other than bench/timing/expected.json")] = None,
) -> None:
    """Check that nothing has become slower or needs more memory; a minute or two, at one thread.

    Measures ratios (explain and the map of a guided step to a plain forward pass, the loop to explain, guided steps to
    the cross-entropy step, in time and in allocated bytes) and compares them with the expectation. Exits with 1 if the
    95 % interval of one lies beyond its noise band, and with 3 if, measured for longer, it still straddles the limit:
    the machine was too busy. Before it says either, and without --update or --expectation, it measures the code that
    the expectation was written with, here, and compares with that: ratios differ between machines.

    Reads: bench/timing/expected.json, and the commit that wrote it. Writes: nothing; with --update, that file, unless
    the machine is too busy.
    """
    from bench.timing.before import decided_here
    from bench.timing.regress import EXPECTATION, TOO_BUSY
    from bench.timing.regress import regress as check

    checked = check(expectation or EXPECTATION, update=update)
    typer.echo(checked.table)
    if (checked.broken or checked.unclear) and expectation is None and not update:
        checked = decided_here(checked, EXPECTATION)
    if checked.broken:
        meant = "If it is meant: python -m bench regress --update on an idle machine, and say why in the commit."
        raise BenchError("\n".join(["slower than expected, or wrong:", *checked.broken, meant]))
    if checked.unclear:
        nothing = "; nothing was written" if update else ""
        typer.echo("\n".join([f"could not tell, the machine was too busy{nothing}:", *checked.unclear]), err=True)
        raise typer.Exit(TOO_BUSY)


def _check_dataset(name: str) -> None:
    from batchcam.checks import check_choice

    try:
        check_choice("dataset", name, DATASETS)
    except ValueError as error:
        raise BenchError(str(error)) from None


def main() -> None:
    """Run the command line."""
    app(prog_name="python -m bench")


if __name__ == "__main__":
    main()
