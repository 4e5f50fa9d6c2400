"""The options of each source of images, and of each family of networks that generates them."""

# pyright: reportIncompatibleVariableOverride=false
# A tag is one of the texts that the base allows, and nobody can change it: sections are frozen.

from pathlib import Path
from typing import Annotated, ClassVar, Literal, cast

from pydantic import Field, model_validator

from silogan.common.bounds import RecordsPerPatient, Text
from silogan.common.errors import ConfigError
from silogan.common.modality.base import Data, Model, Schema
from silogan.common.modality.image import ImageSchema
from silogan.common.printable import printable
from silogan.common.section import Section

DICOM = "dicom"
"""In place of a manifest: patients by the ID in the files."""

Fit = Literal["pad", "crop", "squash"]
"""How an image that is not square becomes square."""


class ImageSource(Data):
    """Options of every source of images."""

    simulates: ClassVar[str] = "images_per_patient"

    image_size: Annotated[int, Field(ge=8, le=256)] | None = None
    """height and width in pixels to resize to; unchanged if not given"""

    fit: Fit | None = None
    """what becomes of an image that is not square: pad adds black on both sides, crop keeps the middle, squash changes
    its proportions; refused if not given"""

    channels: Literal[1, 3] | None = Field(default=None, description="1 for grey, 3 for colour; unchanged if not given")
    images_per_patient: RecordsPerPatient = 1
    """simulated patients: images of one class per patient, where the data does not name patients"""

    def declared_schema(self) -> Schema:
        """See `Data.declared_schema`."""
        return self.declared_images()

    def declared_images(self) -> ImageSchema:
        """The same of images alone."""
        wanted = {"image_size": self.image_size, "channels": self.channels, "classes": self.classes}
        for key, value in wanted.items():
            if not value:
                hint = f"--set data.{key}=... to match the hospitals' data"
                raise ConfigError(f"data.{key}", "is not given, and the coordinator has no data to infer it from", hint)
        return ImageSchema(cast(int, self.image_size), cast(int, self.channels), cast(tuple[str, ...], self.classes))


class Digits(ImageSource):
    """The handwritten digits that come with scikit-learn."""

    source: Literal["digits"] = "digits"


class Mnist(ImageSource):
    """The original MNIST files."""

    source: Literal["mnist"] = "mnist"
    download: bool = Field(default=False, description="let torchvision download missing files")


class FashionMnist(Mnist):
    """The original Fashion-MNIST files."""

    source: Literal["fashion-mnist"] = "fashion-mnist"


class MedMnist(ImageSource):
    """A MedMNIST file, or one with the same layout."""

    source: Literal["medmnist"] = "medmnist"
    dataset: Text | None = None
    """MedMNIST data set to look for in the folder, for example pneumoniamnist"""


class Window(Section):
    """The values that are shown from black to white; public, and never taken from a file or from patients' images."""

    centre: Annotated[float, Field(ge=-1e9, le=1e9)]
    """the value in the middle, in the units of the file after its slope and intercept, as Hounsfield units"""

    width: Annotated[float, Field(ge=1e-6, le=1e9)]
    """from black to white: centre - width / 2 and what is below is 0, centre + width / 2 and what is above is 255"""


class Slices(Section):
    """Which slices of a NIfTI file are images; without a manifest, those of one file are one patient's."""

    axis: Literal[0, 1, 2, "sagittal", "coronal", "axial"]
    """0, 1 or 2: of the array as it is stored; a name: of the body, as the file's affine says"""

    first: Annotated[int, Field(ge=0, le=32767)] = 0
    """number of the first, from 0"""

    last: Annotated[int, Field(ge=0, le=32767)] | None = None
    """number of the last, which each file must have; that of the file if not given"""

    @model_validator(mode="after")
    def _first_is_not_behind_last(self) -> "Slices":
        if self.last is not None and self.last < self.first:
            raise ValueError(f"first={self.first} is behind last={self.last}")
        return self


class Folder(ImageSource):
    """Image files (PNG, JPEG, TIFF, DICOM, NIfTI), in one folder per class; docs/medical-files.md."""

    source: Literal["folder"] = "folder"
    patients: Literal["dicom"] | Annotated[Path, Field(strict=False)] | None = None
    """CSV file with the columns file (relative to root) and patient; or dicom, for the Patient ID (0010,0020) in each
    file"""

    window: Window | None = None
    """window of DICOM, NIfTI and grey images of more than 8 bits, which are refused without one"""

    slices: Slices | None = None
    """slices of NIfTI files of three dimensions, which are refused without"""

    @model_validator(mode="after")
    def _patients_are_named_once(self) -> "Folder":
        if self.patients is not None and self.images_per_patient > 1:
            raise ValueError(f"images_per_patient={self.images_per_patient} contradicts patients={self.patients}")
        if self.slices is not None and self.images_per_patient > 1:
            raise ValueError(f"images_per_patient={self.images_per_patient} contradicts slices, of a patient a file")
        if self.slices is not None and self.patients == DICOM:
            raise ValueError("slices are of NIfTI files, which have no patient ID as patients=dicom asks for")
        return self

    def is_image(self, name: str) -> bool:  # noqa: ARG002
        """Whether a file of this name, without its ending, is an image; else it is passed over."""
        return True

    @property
    def manifest(self) -> Path | None:
        """The CSV file that says whose each file is."""
        return self.patients if isinstance(self.patients, Path) else None

    @property
    def names_patients(self) -> bool:
        """See `Data.names_patients`."""
        return self.patients is not None or self.slices is not None or super().names_patients


class Convolutional(Model):
    """Options of every family of convolutional networks."""

    width: Annotated[int, Field(ge=1, le=1024)] = 32
    """base number of channels; the widest feature map has a small multiple of it"""


class Dcgan(Convolutional):
    """A conditional DCGAN without normalisation."""

    family: Literal["dcgan"] = "dcgan"


class Article(Convolutional):
    """The networks of the article that this project grew from."""

    family: Literal["article"] = "article"


class Public(Section):
    """Public images like those of the hospitals, never private ones, from which drawn images take fine detail."""

    path: Path = Field(strict=False)
    """folder of .png and .jpg files, or .npz file; only the coordinator reads it, when the generator is fitted"""

    licence: Text | None = None
    """under which the public images may be copied; every drawn image names it"""

    fit: Fit | None = None
    """as data.fit, for the public images"""

    array: Text | None = None
    """name of the array uint8 [N, H, W] or [N, H, W, 3] in an .npz file; train_images if not given"""

    above: Annotated[int, Field(ge=2, le=32)] = 6
    """number of the lowest frequencies, in each direction, that come from the release; public images give the others"""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """SHA-256 of the public images as they are used; computed if not given, and other images are then refused"""

    def credit(self) -> str:
        """In one line, what drawn images owe to the public ones."""
        under = "licence not stated" if self.licence is None else f"licence: {self.licence}"
        return f"fine detail copied from public images '{printable(self.path.name)}' ({under})"


class Gaussians(Model):
    """Gaussians for each class, fitted to noisy releases of its lowest frequencies; nothing is trained."""

    fitted: ClassVar[bool] = True

    family: Literal["gaussians"] = "gaussians"
    frequencies: Annotated[int, Field(ge=2, le=32)] | None = None
    """number of the lowest spatial frequencies that are used, in each direction of an image; chosen if not given"""

    cells: Literal[1, 2, 4, 8] | None = None
    """number of cells into which a class is cut, each with a Gaussian of its own; chosen if not given"""

    draws: bool | None = None
    """whether images are drawn; if false, only a linear classifier is released; chosen by the number of records if not
    given"""

    means_share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """share of the release's information μ² for the class means, around which second moments are then taken"""

    moments_share: Annotated[float, Field(gt=0, lt=1)] = 0.15
    """share for the second moments of whole classes, where they only say how to cut the classes into cells"""

    edge: Annotated[float, Field(ge=0, le=10)] | None = None
    """directions of a covariance below this many times what noise alone would show are left out; chosen if not given"""

    row_share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """of images with rows: share of the row in the squared norm of what is seen of a record"""

    critic: Annotated[int, Field(ge=0, le=1024, multiple_of=16)] = 0
    """width of the critic's hidden layer; training.refine.width sets it, and 0 is no critic"""

    public: Public | None = None
    """public images that fine detail is taken from; none if not given"""

    def released(self) -> "Gaussians":
        """See `Model.released`."""
        if self.public is None:
            return self
        named = self.public.model_copy(update={"path": Path(self.public.path.name)})
        return self.model_copy(update={"public": named})

    def credit(self) -> str | None:
        """See `Model.credit`."""
        return None if self.public is None or self.draws is False else self.public.credit()

    @model_validator(mode="after")
    def _something_is_left_for_the_cells(self) -> "Gaussians":
        if self.cells != 1 and self.means_share + self.moments_share >= 1:
            raise ValueError(
                f"means_share={self.means_share:g} and moments_share={self.moments_share:g} leave no budget"
            )
        return self
