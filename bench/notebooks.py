"""The notebooks, executed: notebooks/*.py (jupytext's percent format) → results/<profile>/notebooks/*.ipynb.

The same results give the same bytes: no times, no random cell ids, one thread, and nothing of the user's own settings.
"""

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.files import written_aside
from bench.params import Params

SOURCES = Path("notebooks")
TIMEOUT_S = 600  # of a cell
_PROFILE = 'profile = "quick"'
_KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}


def execute(params: Params, sources: Path = SOURCES) -> list[Path]:
    """Execute every notebook with the results of a profile, side by side, each in a process of its own.

    Writes results/<profile>/notebooks/ whole, or where a cell of any notebook raises not at all.

    Raises:
        BenchError: there is no notebook, or one that does not name its profile; a cell raises, with the notebook, the
            cell's first line and the error.
    """
    import nbformat

    paths = sorted(sources.glob("*.py"))
    if not paths:
        raise BenchError(f"{sources} holds no notebook (*.py)")
    folder = params.results / "notebooks"
    with tempfile.TemporaryDirectory() as settings, written_aside(folder) as aside:
        aside.mkdir()
        environment = _environment(settings)
        with ThreadPoolExecutor(len(paths)) as pool:  # they wait for their processes
            executed = list(pool.map(lambda path: _executed(path, params.profile, environment), paths))
        for path, notebook in zip(paths, executed, strict=True):
            text = nbformat.writes(notebook)
            (aside / f"{path.stem}.ipynb").write_text(
                text if text.endswith("\n") else f"{text}\n", "utf-8", newline="\n"
            )
    return [folder / f"{path.stem}.ipynb" for path in paths]


def read(path: Path, profile: str) -> Any:
    """A notebook's source for a profile, not executed: a cell tagged `parameters` names it, where there is one.

    Raises:
        BenchError: such a cell lacks the line that names the profile.
    """
    import jupytext

    notebook = jupytext.read(path, fmt="py:percent")
    notebook.metadata = notebook.metadata.__class__(_KERNEL)
    for k, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{k}"  # jupytext draws it at random
        if "parameters" in cell.metadata.get("tags", []):
            if _PROFILE not in cell.source:  # else the results of `quick` would stand under another name
                raise BenchError(f"{path}: the cell tagged `parameters` lacks the line {_PROFILE}")
            cell.source = cell.source.replace(_PROFILE, f'profile = "{profile}"', 1)
    return notebook


def _executed(path: Path, profile: str, environment: dict[str, str]) -> Any:
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    notebook = read(path, profile)
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        extra_arguments=["--log-level=ERROR"],  # no warning of every kernel that its sockets are not encrypted
        startup_timeout=TIMEOUT_S,
        timeout=TIMEOUT_S,
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(Path.cwd())}},
    )
    try:
        client.execute(env=environment)
    except CellExecutionError as error:
        at = next(cell for cell in notebook.cells if any(o.output_type == "error" for o in cell.get("outputs", ())))
        line = at.source.splitlines()[0]
        raise BenchError(f"{path}: the cell that begins with {line!r} raised {error.ename}: {error.evalue}") from error
    except (CellTimeoutError, DeadKernelError) as error:
        raise BenchError(f"{path}: {str(error).splitlines()[0]}") from error
    notebook.metadata = notebook.metadata.__class__(_KERNEL)  # the kernel adds the version of its Python
    return notebook


def _environment(settings: str) -> dict[str, str]:
    """What the kernels run with: one thread, as bits depend on their number, and no settings of the user."""
    fixed = {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0", "MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    quiet = {"PYDEVD_DISABLE_FILE_VALIDATION": "1"}  # ipykernel's debugger warns of Python's frozen modules
    return {**os.environ, **fixed, **quiet, "IPYTHONDIR": settings}
