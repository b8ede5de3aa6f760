"""The command line: python -m bench …

Each command imports what it needs when it runs, so that `--help` answers at once.
"""

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from bench.errors import BenchError


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
            typer.echo("interrupted: the same command takes it up again", err=True)
            raise typer.Exit(130) from None


app = typer.Typer(cls=Commands, no_args_is_help=True, add_completion=False, rich_markup_mode=None)


@app.callback()
def suite() -> None:
    """The Batch-CAM benchmark suite. Run it from the repository's root."""


DATASETS = "digits, mnist or fashion_mnist; with decoy_ before it, the same with decoys"


@app.command()
def prepare(
    name: Annotated[str, typer.Argument(help=DATASETS)],
    directory: Annotated[Path, typer.Option(help="Where the file goes")] = Path("data"),
) -> None:
    """Fetch, verify and split one dataset.

    Reads: for digits, what scikit-learn ships. For mnist and fashion_mnist the four official files, each checked by
    hash, from the first place that has it: DIRECTORY/raw, where earlier downloads stay; the mirror named by the
    environment variable BATCHCAM_DATA_MIRROR, a directory or an http or https address with MNIST/raw/… and
    FashionMNIST/raw/… below it; torchvision's mirrors.

    Writes: DIRECTORY/NAME.safetensors, with uint8 images (N,28,28) and labels (N,) of each split.
    """
    from bench import datasets

    path = datasets.prepare(name, directory)
    data = datasets.load(path)
    counts = [f"{len(split.labels):,} {part}" for part, split in zip(datasets.PARTS, data[:3], strict=True)]
    typer.echo(f"{path}: {', '.join(counts)}")


ParamsFile = Annotated[Path, typer.Option("--params", help="The profile's parameters")]


@app.command()
def plan(
    params: ParamsFile = Path("params.yaml"),
    data: Annotated[bool, typer.Option("--data", help="Only the DVC stages of the datasets")] = False,
    stages: Annotated[bool, typer.Option("--stages", help="Only the DVC stages of what is not ok")] = False,
) -> None:
    """Check a profile's parameters and list its cells and sweeps.

    Reads: the parameters and runs/PROFILE. Writes: nothing; prints a line for each: ok, missing, stale (made with other
    parameters), unreadable or failed. Whether code or data have changed, `dvc status` knows.
    """
    from bench.collect import state, sweep_state
    from bench.params import load

    checked = load(params)
    cells, sweeps = checked.cells(), checked.sweep.cells()
    if data:
        for dataset in dict.fromkeys(cell.dataset for cell in [*cells, *sweeps]):
            typer.echo(f"data/dvc.yaml:prepare@{dataset}")
        return
    states = [
        (checked.address(c), f"{c.name}, {checked.training[c.backbone].seeds} seeds", state(checked, c)) for c in cells
    ]
    states += [(checked.sweep_address(c), f"sweep {c.name}", sweep_state(checked, c)) for c in sweeps]
    to_do = [address for address, _, found in states if found != "ok"]
    if stages:
        for address in to_do:
            typer.echo(address)
        return
    for _, name, found in states:
        typer.echo(f"{name}: {found}")
    swept = f" and {len(sweeps)} sweeps" if sweeps else ""
    typer.echo(f"profile {checked.profile}: {len(cells)} cells{swept}, {len(to_do)} of them to do")


@app.command()
def cell(
    dataset: Annotated[str, typer.Argument(help=DATASETS)],
    backbone: Annotated[
        str, typer.Argument(help="simple_cnn, resnet18 or convnextv2_tiny, the last two also with _earlier")
    ],
    loss: Annotated[
        str, typer.Argument(help="ce, or prototype or batchcam with -l1, -l2 or -ssim, or another of bench/losses.py")
    ],
    resolution: Annotated[int, typer.Argument(help="Side of the images, px")],
    params: ParamsFile = Path("params.yaml"),
    seeds: Annotated[int | None, typer.Option(help="How many, other than the profile's; needs --output", min=1)] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda, other than the profile's; needs --output")] = None,
    output: Annotated[Path | None, typer.Option(help="Where to, other than runs/PROFILE/CELL")] = None,
) -> None:
    """Train and test one backbone with one loss at one resolution.

    The profile says how (device, threads, epochs, weights …); the cell need not be one of its grid. An interrupted cell
    goes on behind its last finished seed.

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

    from bench.train import run_cell

    directory = output or checked.runs / chosen.name
    run_cell(checked, chosen, directory)
    typer.echo(f"{directory}: {chosen.name}")


@app.command()
def sweep(
    dataset: Annotated[str, typer.Argument(help=DATASETS)],
    backbone: Annotated[str, typer.Argument(help="simple_cnn, resnet18 or convnextv2_tiny")],
    loss: Annotated[str, typer.Argument(help="One of bench/losses.py")],
    resolution: Annotated[int, typer.Argument(help="Side of the images, px")],
    params: ParamsFile = Path("params.yaml"),
) -> None:
    """Train one loss with every weight of the profile's sweep, and try each on the validation split.

    An interrupted sweep goes on behind its last finished training.

    Reads: the parameters and data/DATASET.safetensors. Writes: runs/PROFILE/sweep-….json, a row per weight and seed.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # see `cell`
    from bench.params import Cell, load
    from bench.sweep import run_sweep

    typer.echo(run_sweep(load(params), Cell(dataset, backbone, loss, resolution)))  # type: ignore[arg-type]


@app.command()
def bounds(
    dataset: Annotated[str, typer.Argument(help=DATASETS)],
    params: ParamsFile = Path("params.yaml"),
) -> None:
    """Floors and ceilings of the reconstruction metrics on one dataset.

    Reads: the parameters and data/DATASET.safetensors. Writes: runs/PROFILE/bounds-DATASET.csv.
    """
    from bench.bounds import write_bounds
    from bench.params import load

    typer.echo(write_bounds(load(params), dataset))


@app.command()
def grids(dataset: Annotated[str, typer.Argument(help=DATASETS)]) -> None:
    """The grid of every backbone's map at every resolution, and the best that a map of it can reach on a dataset.

    Reads: data/DATASET.safetensors. Writes: nothing; prints the table of docs/backbones.md.
    """
    from bench.bounds import grids_table

    typer.echo(grids_table(dataset))


@app.command()
def time(
    device: Annotated[Any, typer.Argument(help="cpu or cuda")],
    params: ParamsFile = Path("params.yaml"),
) -> None:
    """Time maps and training steps on one device, against loops and other libraries; minutes to an hour, by profile.

    Whatever else runs on the machine meanwhile is measured as well. An interrupted run goes on behind its last finished
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

    Reads: the parameters and runs/PROFILE. Writes: results/PROFILE/cells.csv, bounds.csv,
    timing.csv and sweep.csv.
    """
    from bench.collect import collect
    from bench.params import load

    for path in collect(load(params)):
        typer.echo(path)


@app.command()
def report(params: ParamsFile = Path("params.yaml")) -> None:
    """Make the tables and figures of a profile, and the verdict on every claim.

    Reads: results/PROFILE/cells.csv, bounds.csv, timing.csv and sweep.csv, runs/PROFILE and the datasets. Writes:
    results/PROFILE/tables, figures, claims.csv, claims.md and README.md.
    """
    from bench.report import report

    report(params)


@app.command()
def regress(
    update: Annotated[bool, typer.Option("--update", help="Write the expectation anew instead")] = False,
    expectation: Annotated[Path | None, typer.Option(help="Other than bench/timing/expected.json")] = None,
) -> None:
    """Check that nothing has become slower or needs more memory; less than a minute, at one thread.

    Measures ratios (explain to a plain forward pass, the loop to explain, guided steps to the cross-entropy step, in
    time and in allocated bytes), compares them with the expectation, and exits with 1 if one is beyond its noise band.

    Reads: bench/timing/expected.json. Writes: nothing; with --update, that file.
    """
    from bench.timing.regress import EXPECTATION
    from bench.timing.regress import regress as check

    table, broken = check(expectation or EXPECTATION, update)
    typer.echo(table)
    if broken:
        raise BenchError("\n".join(["slower than expected, or wrong:", *broken]))


def main() -> None:
    """Run the command line."""
    app(prog_name="python -m bench")


if __name__ == "__main__":
    main()
