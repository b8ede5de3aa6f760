"""The tree is the pipeline: what a stage runs is what it depends on, imports make no loop, and modules stay short."""

import ast
import functools
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.timing.run import CODE

ROOT = Path(__file__).parents[1]
PACKAGES = ("batchcam", "bench", "notebooks")

#: The module whose imports a stage runs.
ENTRIES = {
    "prepare": ["bench.prepare.datasets"],
    "cell": ["bench.run.cells"],
    "control": ["bench.run.cells"],
    "decoy": ["bench.run.cells"],
    "dose": ["bench.run.cells"],
    "network": ["bench.run.cells"],
    "sweep": ["bench.run.sweep"],
    "control_sweep": ["bench.run.sweep"],
    "bounds": ["bench.bounds"],
    "time": ["bench.timing.run", "bench.timing.test_suite"],
    "collect": ["bench.report.collect"],
    "report": ["bench.report.page"],
    "notebooks": [
        "bench.notebooks",
        *(f"notebooks.{name}" for name in ("maps", "results", "timing", "your_own_model")),
    ],
}
#: What a stage may import without depending on it, as it cannot change what the stage makes: the schema, whose values
#: are parameters; names; words for errors; renaming files; showing progress; what resumes and signs a cell; and what
#: refuses one for which there is no memory.
HARMLESS = {
    *(
        "bench",
        "bench.params",
        "bench.reading",
        "bench.validation",
        "bench.sections",
        "bench.resources",
        "bench.names",
        "bench.errors",
    ),
    *("bench.files", "bench.progress", "bench.display", "bench.run", "bench.run.cells", "bench.run.provenance"),
    "bench.run.room",
}
#: The same of one stage alone. `time`: of bench/cell it names what a step runs, since a new metric must not cost an
#: hour of timing. `prepare`: of batchcam it uses the checks of arguments, and the others come with the package.
#: `notebooks`: a dataset that is not there is made, whose bytes the cells depend on.
HARMLESS_TO = {
    "time": ("bench.cell", "bench.cell.data"),
    "prepare": ("batchcam", "bench.cell"),
    "notebooks": ("bench.prepare", "bench.prepare.datasets"),
}


def modules(root: Path = ROOT) -> dict[str, Path]:
    """Every module of the project by its name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path: Path, known: dict[str, Path], *, lazily: bool = True) -> set[str]:
    """The modules of the project that a file imports; without `lazily`, only while it is itself imported."""
    found = set(_names(path.read_text(encoding="utf-8"), lazily=lazily))
    packages = {name.rpartition(".")[0] for name in found & set(known)}  # importing a.b runs a too
    return (found | packages) & set(known)


@functools.cache
def _names(text: str, *, lazily: bool) -> set[str]:
    """All that a module's text imports: `from a import b` is both a and a.b."""
    found: set[str] = set()
    tree = ast.parse(text)
    for node in ast.walk(tree) if lazily else _at_import(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def _at_import(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run while a module is imported: not the bodies of functions, nor what only type checkers see."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        yield child
        yield from _at_import(child)


def closure(entries: list[str], root: Path = ROOT, *, lazily: bool = True) -> set[str]:
    """All modules of the project that these import, directly or not; `lazily` as in `imported`."""
    known, found, waiting = modules(root), set[str](), list(entries)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += imported(known[name], known, lazily=lazily)
    return found


def at_import(entry: str, root: Path = ROOT) -> set[str]:
    """The packages that come with a module while it is imported, directly or not."""
    texts = [modules(root)[name].read_text(encoding="utf-8") for name in closure([entry], root, lazily=False)]
    return {name.partition(".")[0] for text in texts for name in _names(text, lazily=False)}


@functools.cache
def pipeline() -> dict[str, Any]:
    """Every stage of both dvc.yaml files."""
    stages: dict[str, Any] = {}
    for path in ("dvc.yaml", "data/dvc.yaml"):
        stages |= yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))["stages"]
    return stages


def undeclared(stage: str, root: Path = ROOT) -> list[str]:
    """The files that a stage runs without depending on them."""
    deps = [dep for dep in pipeline()[stage]["deps"] if "$" not in dep]
    known = modules(root)
    allowed = HARMLESS | {*HARMLESS_TO.get(stage, ())}
    if stage == "prepare":
        allowed |= {name for name in known if name.startswith("batchcam.")}
    files = [known[name].relative_to(root).as_posix() for name in closure(ENTRIES[stage], root) - allowed]
    return sorted(file for file in files if not any(file == dep or file.startswith(f"{dep}/") for dep in deps))


def test_a_timing_that_is_taken_up_again_was_begun_with_what_its_stage_depends_on() -> None:
    assert sorted(CODE) == sorted(pipeline()["time"]["deps"])


def test_every_stage_has_its_entry() -> None:
    assert set(pipeline()) == set(ENTRIES)


@pytest.mark.parametrize("stage", ENTRIES)
def test_a_stage_depends_on_every_module_that_it_runs(stage: str) -> None:
    assert undeclared(stage) == []


@pytest.mark.parametrize("stage", ENTRIES)
def test_what_a_stage_depends_on_exists_and_is_run(stage: str) -> None:
    run = {path.relative_to(ROOT).as_posix() for name, path in modules().items() if name in closure(ENTRIES[stage])}
    for dep in pipeline()[stage]["deps"]:
        if "$" not in dep:
            assert (ROOT / dep).exists(), dep
            assert any(file == dep or file.startswith(f"{dep}/") for file in run), f"{stage} does not run {dep}"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the project's modules, to be broken."""
    for name, path in modules().items():
        target = tmp_path / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
        assert name in modules(tmp_path)
    return tmp_path


def test_a_module_that_is_moved_out_of_a_stage_is_found(copy: Path) -> None:
    (copy / "bench/cell/saliency.py").rename(copy / "bench/saliency.py")
    path = copy / "bench/cell/evaluation.py"
    path.write_text(path.read_text().replace("from bench.cell import saliency", "from bench import saliency"))
    assert undeclared("cell", copy) == ["bench/saliency.py"]
    assert "bench/saliency.py" in undeclared("sweep", copy)


def test_an_import_that_is_added_is_found_also_inside_a_function(copy: Path) -> None:
    path = copy / "bench/cell/images.py"
    path.write_text(path.read_text() + "\n\ndef f():\n    from bench.report import tables\n    return tables\n")
    assert "bench/report/tables.py" in undeclared("cell", copy)


def test_imports_make_no_loop() -> None:
    known = modules()
    graph = {name: imported(path, known, lazily=False) - {name} for name, path in known.items()}
    # A package and what it gathers: the package's name is in every import of its parts.
    graph = {name: {other for other in others if not name.startswith(f"{other}.")} for name, others in graph.items()}
    done: set[str] = set()
    while free := [name for name, others in graph.items() if name not in done and others <= done]:
        done |= set(free)
    assert sorted(set(graph) - done) == []


def test_batchcam_never_imports_bench_and_names_never_import_torch() -> None:
    assert not [name for name in closure(["batchcam"]) if name.startswith("bench")]
    for name in ("bench.names", "bench.paper", "bench.params", "bench.__main__"):
        assert at_import(name) & {"torch", "torchvision", "timm", "batchcam"} == set(), name


def test_what_a_module_imports_at_last_is_found(copy: Path) -> None:
    path = copy / "bench/errors.py"
    path.write_text(f"{path.read_text()}\n\nimport torch.nn\n")
    assert "torch" in at_import("bench.params", copy)
    assert "torch" not in at_import("bench.names", copy)
    path.write_text(path.read_text().replace("import torch.nn", "def f():\n    import torch.nn\n"))
    assert "torch" not in at_import("bench.params", copy)


def test_no_module_is_longer_than_400_lines() -> None:
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in modules().items()}
    assert {name: count for name, count in lines.items() if count > 400} == {}


def test_tests_mirror_the_tree() -> None:
    folders = {path.name for path in (ROOT / "bench").iterdir() if (path / "__init__.py").is_file()} | {"batchcam"}
    assert folders == {path.name for path in (ROOT / "tests").iterdir() if list(path.glob("test_*.py"))}


def test_make_help_and_contributing_have_every_command() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    (targets,) = re.findall(r"^\.PHONY: (.+)$", makefile, flags=re.MULTILINE)
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.findall(r"^make (\S+) +\S", shown, flags=re.MULTILINE) == targets.split()
    contributing = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    assert [target for target in targets.split() if f"`make {target}`" not in contributing] == []
