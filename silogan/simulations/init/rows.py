"""The structure of a table: its columns, and the hospitals that it names."""

from pathlib import Path

from silogan.client.data.table import files_of
from silogan.client.describe.draft import look
from silogan.simulations.init.found import Found


def look_at_rows(path: Path) -> Found:
    """The columns of a file, or of a folder with a file for each hospital.

    Raises:
        DataError: a file cannot be read.
        UsageError: it is Parquet, and pyarrow is not installed.
    """
    files = files_of(path)
    draft = look([file for several in files.values() for file in several])
    columns = f"a table of {len(draft.columns)} columns"
    if len(files) > 1:
        return Found("table", columns, sites=len(files), draft=draft)
    sites = None if draft.site is None else len(draft.columns[draft.site].listed())
    return Found("table", columns, sites=sites, draft=draft)
