"""The options of tables as a source, and of each family that generates rows."""

# pyright: reportIncompatibleVariableOverride=false
# A tag is one of the texts that the base allows, and nobody can change it: sections are frozen.

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, ValidationError

from silogan.common.bounds import RecordsPerPatient
from silogan.common.errors import ConfigError
from silogan.common.modality import breast_cancer
from silogan.common.modality.base import Data, Model, Schema
from silogan.common.modality.table import Category, TableSchema
from silogan.common.modality.table_file import read_description

MOST_BINS = 16
"""Most groups of a number where a study leaves `bins` open and nothing was chosen."""


HOSPITAL = "hospital"
"""Name of the column that says which hospital a drawn row resembles."""


class TableSource(Data):
    """Options of every source of rows."""

    simulates: ClassVar[str] = "rows_per_patient"

    rows_per_patient: RecordsPerPatient = 1
    """simulated patients: rows of one class per patient, where the data does not name patients"""


class Table(TableSource):
    """CSV files with a row for each record; the columns are described in a file of their own."""

    source: Literal["table"] = "table"
    columns: Path | None = Field(default=None, strict=False)
    """YAML file that describes the columns, see docs/tables.md; it is public, and never made from patients' data"""

    def declared_schema(self) -> TableSchema:
        """See `Data.declared_schema`."""
        if self.columns is None:
            hint = "name the YAML file that describes the columns (silogan data describe drafts one)"
            raise ConfigError("data.columns", "is not given", hint)
        found = read_description(self.columns.expanduser())
        if self.classes not in (None, found.classes):
            raise ConfigError("data.classes", "differs from the classes of data.columns", "remove it")
        return found

    def described(self, registered: Schema) -> Schema:  # noqa: ARG002  (the description says all of it)
        """See `Data.described`."""
        return self.declared_schema()

    @property
    def names_patients(self) -> bool:
        """See `Data.names_patients`."""
        return bool(self.declared_schema().patient) or super().names_patients


class BreastCancer(TableSource):
    """The Wisconsin breast cancer data that comes with scikit-learn."""

    source: Literal["breast-cancer"] = "breast-cancer"

    def declared_schema(self) -> TableSchema:
        """See `Data.declared_schema`."""
        return breast_cancer.schema()


class Mixture(Model):
    """A mixture of products of distributions, fitted to noisy counts of single columns and of pairs of them."""

    fitted: ClassVar[bool] = True

    family: Literal["mixture"] = "mixture"
    components: Annotated[int, Field(ge=1, le=4096)] = 256
    """number of products that are mixed"""

    bins: Annotated[int, Field(ge=2, le=64)] | None = None
    """most cells of a number in pairs of columns; chosen if not given"""

    by_class: bool | None = None
    """whether pairs are counted in each class, and not in everybody; chosen if not given"""

    code_pairs: bool | None = None
    """whether pairs of codes are counted, and not single codes and their pairs with columns alone; chosen if not given
    and of use for code sets alone"""

    by_hospital: bool = False
    """whether each drawn row says which hospital it resembles; whoever has the generator then sees each hospital's
    noisy sums apart"""

    singles_share: Annotated[float, Field(ge=0, lt=1)] | None = None
    """share of the release's information μ² for counts of single columns, which come first and say how to cut numbers
    for the pairs; 0 leaves it to equal parts; chosen if not given"""

    steps: Annotated[int, Field(ge=1, le=100_000)] = 1500
    """most steps of the fit at the server; they cost no privacy"""

    critic: Annotated[int, Field(ge=0, le=1024, multiple_of=16)] = 0
    """width of the critic's layers; training.refine.width sets it, and 0 is no critic"""

    def released(self) -> "Mixture":
        """See `Model.released`: a generator needs no critic."""
        return self.model_copy(update={"critic": 0})

    def drawn(self, schema: Schema, sites: Sequence[str]) -> Schema:
        """See `Model.drawn`: with `by_hospital` the names of the hospitals are a last column."""
        if not self.by_hospital or not isinstance(schema, TableSchema):
            return schema
        try:
            hospital = Category("category", HOSPITAL, tuple(sites), tuple(() for _ in sites))
            return replace(schema, columns=(*schema.columns, hospital), site="")
        except ValidationError as error:
            fault = error.errors()[0]["msg"].removeprefix("Value error, ")
            hint = f"rename a column '{HOSPITAL}' of your own, or leave model.by_hospital out"
            raise ConfigError("model.by_hospital", f"makes a table that cannot be ({fault})", hint) from None

    def counted(self, drawn: TableSchema) -> TableSchema:
        """The inverse of `drawn`: the columns that hospitals count."""
        told = self.by_hospital and drawn.columns[-1].name == HOSPITAL
        return replace(drawn, columns=drawn.columns[:-1]) if told else drawn

    @property
    def classes_apart(self) -> bool:
        """`by_class`, which is so where nothing was chosen."""
        return self.by_class is not False

    @property
    def most_bins(self) -> int:
        """`bins`, which are `MOST_BINS` where nothing was chosen."""
        return self.bins or MOST_BINS
