"""The notebooks: what is committed was executed from the present sources; what cannot be executed is one sentence."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from bench.errors import BenchError
from bench.notebooks import SOURCES, execute, read
from tests.test_layout import ENTRIES
from tests.tiny import tiny

ROOT = Path(__file__).parents[1]
NAMES = sorted(path.stem for path in (ROOT / SOURCES).glob("*.py"))
EXECUTED = sorted(ROOT.glob("results/*/notebooks"))
DRAWS = """# %% [markdown]
# # A page

# %% tags=["parameters"]
profile = "quick"  # or another

# %%
import os
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
print(profile, os.environ["OMP_NUM_THREADS"])
plt.imshow(np.random.default_rng(0).random((9, 9)))
plt.show()
pd.DataFrame({"a": [1, 2]})
"""


def sources(path: Path) -> list[str]:
    """The text of each cell of an executed notebook."""
    return [cell["source"] for cell in notebook(path)["cells"]]


def notebook(path: Path) -> dict[str, Any]:
    """An executed notebook, with its texts joined."""
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    for cell in content["cells"]:
        cell["source"] = "".join(cell["source"])
    return content


def test_every_notebook_has_its_entry_in_the_layout() -> None:
    assert {f"notebooks.{name}" for name in NAMES} <= set(ENTRIES["notebooks"])
    assert {"maps", "results", "timing", "your_own_model"} <= set(NAMES)


@pytest.mark.parametrize("folder", EXECUTED, ids=lambda folder: folder.parent.name)
def test_committed_notebooks_are_the_sources_executed(folder: Path) -> None:
    assert sorted(path.stem for path in folder.iterdir()) == NAMES
    for path in folder.iterdir():
        source = read(ROOT / SOURCES / f"{path.stem}.py", folder.parent.name)
        assert sources(path) == [cell.source for cell in source.cells], f"{path} is not made from its source"
        content = notebook(path)
        code = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
        assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
        kinds = {output["output_type"] for cell in code for output in cell["outputs"]}
        assert kinds <= {"stream", "display_data", "execute_result"}
        assert not [o for cell in code for o in cell["outputs"] if o.get("name") == "stderr"], f"{path} shows a warning"
        assert path.stat().st_size < 1_000_000
        assert set(content["metadata"]) == {"kernelspec"}
        assert "/tmp/" not in path.read_text("utf-8")


def test_quick_has_its_notebooks() -> None:
    assert ROOT / "results/quick/notebooks" in EXECUTED


def test_a_notebook_reads_results_through_one_function_and_no_path_of_its_own() -> None:
    for name in NAMES:
        text = (ROOT / SOURCES / f"{name}.py").read_text("utf-8")
        calls = {ast.unparse(node.func) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)}
        assert not {call for call in calls if call.endswith(("read_csv", "read_text", "load_file", "open"))}, name
        assert ("bench.results.load" in calls) == ('tags=["parameters"]' in text), name


def test_the_same_notebook_gives_the_same_bytes_for_the_profile_that_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text(DRAWS)
    one, two = execute(tiny({}), tmp_path)
    assert one == Path("results/tiny/notebooks/one.ipynb")
    assert one.read_bytes() == two.read_bytes()
    _, parameters, code = notebook(one)["cells"]
    assert parameters["source"] == 'profile = "tiny"  # or another'
    stream, figure, frame = code["outputs"]
    assert stream["text"] == ["tiny 1\n"]
    assert "image/png" in figure["data"]
    assert "text/html" in frame["data"]


def test_a_cell_that_raises_is_one_sentence_and_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    there = tmp_path / "results/tiny/notebooks"
    there.mkdir(parents=True)
    (there / "old.ipynb").write_text("{}")
    (tmp_path / "broken.py").write_text('# %%\nprint("fine")\n\n# %%\nx = 1\nx / 0\n')
    with pytest.raises(BenchError) as raised:
        execute(tiny({}), tmp_path)
    assert (
        str(raised.value) == f"{tmp_path / 'broken.py'}: the cell that begins with 'x = 1' raised ZeroDivisionError: "
        "division by zero"
    )
    assert [path.name for path in there.parent.rglob("*") if path.is_file()] == ["old.ipynb"]


def test_a_notebook_whose_profile_cannot_be_set_is_not_executed_with_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "renamed.py"
    path.write_text(DRAWS.replace('profile = "quick"', 'name = "quick"'))
    with pytest.raises(BenchError, match=f'^{path}: the cell tagged `parameters` lacks the line profile = "quick"$'):
        execute(tiny({}), tmp_path)


def test_a_folder_without_notebooks_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"holds no notebook \(\*\.py\)$"):
        execute(tiny({}), tmp_path)
