"""cells.csv: what is expected comes from the parameters, and whatever is not there is a row that says so."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from bench.errors import BenchError
from bench.names import METRICS, SWEPT_METRICS
from bench.params import Cell, Params, load
from bench.report.collect import HEADLINE, KEY, SWEPT, collect, state, sweep_state
from tests.tiny import NO_CELLS, OTHERS, seeds

ROOT = Path(__file__).parents[2]
CELL, OTHER = Cell("digits", "simple_cnn", "ce", 12), Cell("digits", "simple_cnn", "prototype-l1", 12)
#: Values that a shortened or badly read decimal would change; None is a metric that has nothing to be taken over.
VALUES = [0.1 + 0.2, 1 / 3, 2 / 3 * 1e-17, 1.0, 0.0, None, 0.9722222222222223, 5e-324, 0.7549999999999999]


def metrics(cell: Cell, seed: int) -> dict[str, Any]:
    """Made-up metrics, others for every cell and seed."""
    shift = seed + len(cell.loss)
    return {"seed": seed, **{name: VALUES[(i + shift) % len(VALUES)] for i, name in enumerate(METRICS)}}


def put(params: Params, cell: Cell) -> None:
    """What a finished cell leaves, as far as `collect` reads it."""
    directory = params.runs / cell.name
    directory.mkdir(parents=True)
    rows = [metrics(cell, seed) for seed in range(params.seeds(cell))]
    (directory / "metrics.json").write_text(json.dumps(rows))
    seconds = [{"seed": row["seed"], "train_s": 1.5, "test_s": 0.25} for row in rows]
    made = {"parameters": params.settings(cell), "seconds": seconds, "device": "CPU", "commit": "abc-dirty"}
    (directory / "provenance.json").write_text(json.dumps(made))


def put_bounds(params: Params, dataset: str, ssim: float) -> None:
    table = {"dataset": [dataset] * 2, "resolution": 12, "kind": "floor", "name": ["all zero", "NA"], "backbones": ""}
    params.bounds_file(dataset).parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(table | {"l1": 1 / 3, "l2": 0.1 + 0.2, "ssim": [ssim, 1.0]}).to_csv(
        params.bounds_file(dataset), index=False
    )


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """The parameters of a profile of two cells with two seeds each; both cells and the bounds are there."""
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    content["grid"] = {"dataset": ["digits"], "backbone": ["simple_cnn"], "resolution": [12]}
    content["grid"]["loss"] = [CELL.loss, OTHER.loss]
    content |= dict.fromkeys(OTHERS, NO_CELLS)
    content["sweep"] = content["grid"] | {"weights": [0.5, 2], "seeds": 2, "epochs": 1}
    content["grid"]["seeds"] = seeds(2)
    content["training"]["simple_cnn"]["px12"] = content["training"]["simple_cnn"]["px23"]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    monkeypatch.chdir(tmp_path)
    params = load(Path("params.yaml"))
    put(params, CELL)
    put(params, OTHER)
    put_bounds(params, "digits", 0.1234567890123456)
    return params


def test_a_complete_profile_is_all_ok_and_no_float_is_rounded(params: Params) -> None:
    stranger = CELL._replace(resolution=99)  # not expected: nobody's business
    shutil.copytree(params.runs / CELL.name, params.runs / stranger.name)
    written = collect(params)
    names = ("cells", "epochs", "bounds", "timing", "sweep", "trainings")
    assert written == (*(Path("results/quick", f"{name}.csv") for name in names), Path("results/quick/metrics"))
    found = read(written[0])
    assert list(found[0]) == [*KEY, *METRICS]
    expected = [(cell, seed) for cell in (CELL, OTHER) for seed in (0, 1)]
    for row, (cell, seed) in zip(found, expected, strict=True):
        assert [row[name] for name in KEY] == [*map(str, cell), str(seed), "ok"]
        values = metrics(cell, seed)
        assert {name: float(row[name]) if row[name] else None for name in METRICS} == {n: values[n] for n in METRICS}


def test_what_a_training_took_and_was_made_with_stands_beside_it_and_what_is_missing_has_no_row(params: Params) -> None:
    shutil.rmtree(params.runs / OTHER.name)
    rows = read(collect(params)[5])
    assert [(row["loss"], row["seed"]) for row in rows] == [("ce", "0"), ("ce", "1")]
    names = ("train_s", "test_s", "device", "processor", "commit")
    assert [rows[0][name] for name in names] == ["1.5", "0.25", "CPU", "", "abc-dirty"]


def test_metrics_are_the_means_of_each_cell_and_say_what_is_missing(params: Params) -> None:
    shutil.rmtree(params.runs / OTHER.name)
    *_, folder = collect(params)
    files = {path.relative_to(folder).as_posix(): json.loads(path.read_text()) for path in folder.rglob("*.json")}
    assert set(files) == {f"digits-simple_cnn-12/{loss}.json" for loss in ("ce", "prototype-l1")}
    assert files["digits-simple_cnn-12/prototype-l1.json"] == {"status": "missing", "seeds": 0}
    found = files["digits-simple_cnn-12/ce.json"]
    values = {name: [metrics(CELL, seed)[name] for seed in (0, 1)] for name in HEADLINE}
    known = {name: [v for v in both if v is not None] for name, both in values.items()}
    assert found == {"status": "ok", "seeds": 2} | {n: pytest.approx(sum(v) / len(v)) for n, v in known.items() if v}


def rewrite(name: str, change: Callable[[Any], Any]) -> Callable[[Params, Path], None]:
    """Damage to one of the cell's JSON files."""

    def damage(_: Params, directory: Path) -> None:
        content = json.loads((directory / name).read_text())
        changed = change(content)
        (directory / name).write_text(json.dumps(content if changed is None else changed))

    return damage


def cut(name: str) -> Callable[[Params, Path], object]:
    return lambda _, directory: (directory / name).write_text((directory / name).read_text()[:-7])


def fail(params: Params, _: Path) -> None:
    failure = params.failure_file(OTHER)
    failure.parent.mkdir(parents=True)
    failure.write_text("seed 0: the loss became nan, at step 3")


def gone(_: Params, directory: Path) -> None:
    shutil.rmtree(directory)


LEARNING_RATE = rewrite("provenance.json", lambda made: made["parameters"]["training"].update(learning_rate=1))
FAILED = "failed: seed 0: the loss became nan, at step 3"


@pytest.mark.parametrize(
    ("damages", "statuses"),
    [
        ([gone], ["missing", "missing"]),
        ([rewrite("metrics.json", lambda rows: rows[1:])], ["missing", "ok"]),
        ([gone, fail], [FAILED, FAILED]),
        ([LEARNING_RATE, fail], [FAILED, FAILED]),
        ([fail], ["ok", "ok"]),
        ([cut("metrics.json")], ["unreadable", "unreadable"]),
        ([cut("provenance.json")], ["unreadable", "unreadable"]),
        ([lambda _, directory: (directory / "metrics.json").unlink()], ["unreadable", "unreadable"]),
        ([rewrite("metrics.json", lambda rows: rows[0].pop("ssim") and None)], ["unreadable", "unreadable"]),
        ([rewrite("metrics.json", lambda rows: {})], ["missing", "missing"]),
        ([LEARNING_RATE], ["stale", "stale"]),
        ([rewrite("provenance.json", lambda made: made["parameters"].update(weight=2))], ["stale", "stale"]),
        ([rewrite("provenance.json", lambda made: made["parameters"].update(threads=7))], ["stale", "stale"]),
        ([rewrite("provenance.json", lambda made: made["parameters"].update(road=[12]))], ["stale", "stale"]),
    ],
    ids=[
        "cell missing",
        "seed missing",
        "failed",
        "failed after other parameters",
        "failed, then brought back from the cache",
        "metrics cut",
        "provenance cut",
        "no metrics",
        "metric missing",
        "no seeds",
        "other training",
        "other weight",
        "other threads",
        "ROAD elsewhere",
    ],
)
def test_what_is_not_there_is_a_row_that_says_so(
    damages: list[Callable[[Params, Path], object]], statuses: list[str], params: Params
) -> None:
    for damage in damages:
        damage(params, params.runs / OTHER.name)
    found = read(collect(params)[0])
    assert [row["status"] for row in found] == ["ok", "ok", *statuses]
    assert [row["seed"] for row in found] == ["0", "1", "0", "1"]
    for row in found:
        assert any(row[name] for name in METRICS) == (row["status"] == "ok")


def test_bounds_of_all_datasets_are_one_table_as_they_were_written(params: Params) -> None:
    params = params.model_copy(update={"grid": params.grid.model_copy(update={"dataset": ["mnist", "digits"]})})
    params = params.model_copy(update={"weights": dict.fromkeys(["mnist", "digits"], params.weights["digits"])})
    put_bounds(params, "mnist", 0.6123456789012349)
    before = [row for name in ("mnist", "digits") for row in read(params.bounds_file(name))]
    found = read(collect(params)[2])
    assert [row["dataset"] for row in found] == ["mnist", "mnist", "digits", "digits"]
    assert found == before


def test_bounds_that_are_missing_are_one_sentence_and_nothing_is_written(params: Params) -> None:
    params.bounds_file("digits").unlink()
    with pytest.raises(BenchError, match=r"^runs/quick/bounds-digits.csv is missing: python -m bench bounds makes it$"):
        collect(params)
    assert not params.results.exists()


def test_a_cell_is_ok_only_with_all_its_seeds_and_its_own_parameters(params: Params) -> None:
    """By this `plan --stages` knows what is to do."""
    assert [state(params, cell) for cell in params.cells()] == ["ok", "ok"]
    (params.runs / CELL.name / "metrics.json").write_text(json.dumps([metrics(CELL, 0)]))
    provenance = params.runs / OTHER.name / "provenance.json"
    provenance.write_text(provenance.read_text().replace('"weight": 1', '"weight": 2'))
    assert [state(params, cell) for cell in params.cells()] == ["missing", "stale"]


def swept(weight: float, seed: int, status: str = "ok") -> dict[str, Any]:
    """A row of a sweep; without metrics where it failed."""
    values = {name: VALUES[(i + seed) % len(VALUES)] for i, name in enumerate(SWEPT_METRICS)}
    return {"weight": weight, "seed": seed, "status": status} | (values if status == "ok" else {})


def put_sweep(params: Params, cell: Cell, **changes: Any) -> None:
    rows = [swept(0.5, 0), swept(0.5, 1), swept(2, 0, "failed: the loss became nan"), swept(2, 1)]
    parameters = params.sweep_settings(cell) | changes
    params.sweep_file(cell).write_text(json.dumps({"parameters": parameters, "rows": rows}))


def test_a_sweep_is_a_row_for_every_weight_and_seed(params: Params) -> None:
    put_sweep(params, CELL)
    put_sweep(params, OTHER)
    path = collect(params)[4]
    found = read(path)
    assert list(found[0]) == [*SWEPT, *SWEPT_METRICS]
    assert [row["loss"] for row in found] == [CELL.loss] * 4 + [OTHER.loss] * 4
    assert [(row["weight"], row["seed"]) for row in found] == [
        ("0.5", "0"),
        ("0.5", "1"),
        ("2.0", "0"),
        ("2.0", "1"),
    ] * 2
    assert [row["status"] for row in found] == ["ok", "ok", "failed: the loss became nan", "ok"] * 2
    for row in found:
        values = swept(0, int(row["seed"]), row["status"])
        assert {n: float(row[n]) if row[n] else None for n in SWEPT_METRICS} == {
            n: values.get(n) for n in SWEPT_METRICS
        }
    assert sweep_state(params, CELL) == "ok"


@pytest.mark.parametrize(
    ("damage", "status"),
    [
        (lambda params, _: params.sweep_file(OTHER).unlink(), "missing"),
        (lambda params, _: put_sweep(params, OTHER, weights=[0.5, 3]), "stale"),
        (lambda params, _: put_sweep(params, OTHER, seeds=1), "stale"),
        (lambda params, _: put_sweep(params, OTHER, threads=7), "stale"),
        (lambda params, path: path.write_text(path.read_text()[:-7]), "unreadable"),
        (lambda params, path: path.write_text("[]"), "unreadable"),
        (lambda params, path: path.write_text("{}"), "unreadable"),
    ],
    ids=["missing", "other weights", "other seeds", "other threads", "cut", "a list", "no rows"],
)
def test_a_sweep_that_is_not_there_is_a_row_that_says_so(
    damage: Callable[[Params, Path], None], status: str, params: Params
) -> None:
    put_sweep(params, CELL)
    put_sweep(params, OTHER)
    damage(params, params.sweep_file(OTHER))
    *kept, row = read(collect(params)[4])
    assert [r["loss"] for r in kept] == [CELL.loss] * 4
    assert (row["loss"], row["status"], row["weight"]) == (OTHER.loss, status, "")
    assert not any(row[name] for name in SWEPT_METRICS)
    assert [sweep_state(params, cell) for cell in (CELL, OTHER)] == ["ok", status]


def test_a_profile_of_decoys_alone_is_collected(params: Params) -> None:
    grid = params.grid
    params = params.model_copy(update={"grid": params.networks, "decoys": grid})
    assert [row["status"] for row in read(collect(params)[0])] == ["ok"] * 4
