"""The notebooks of the documentation, run from their first cell to their last in a kernel of their own."""

import json
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import silogan

ROOT = Path(silogan.__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


def test_there_are_three() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["first-study", "patient-records", "your-own-images"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the kernel's libraries, in this process
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_its_first_cell_to_its_last(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    said = [
        out.get("text", "") for cell in notebook.cells for out in cell.get("outputs", ()) if out.get("name") == "stderr"
    ]
    assert "".join(said) == ""


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_was_saved_with_what_it_shows_and_nothing_of_the_machine(path: Path) -> None:
    text = path.read_text("utf-8")
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert "data:image/png" in text
    assert not re.search(r"/(home|root|tmp|work|Users)/|Traceback|Warning", text)
    assert len(text) < 500_000
