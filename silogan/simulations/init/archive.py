"""The structure of an .npz file of images, as MedMNIST has them."""

from pathlib import Path

from silogan.client.data.medmnist import look_into
from silogan.simulations.init.found import Found
from silogan.simulations.init.sizes import kept


def look_at_archive(path: Path) -> Found:
    """Size and colour of the images, the hospitals that they name, and whether the classes of the set are known.

    Raises:
        DataError: the file cannot be read, or is not of that kind.
    """
    inside = look_into(path)
    size, told = kept({(inside.height, inside.width)})
    colour = "grey" if inside.channels == 1 else "colour"
    return Found(
        source="medmnist",
        described=f"images {told}, {colour}",
        keys={"channels": inside.channels} | ({} if size is None else {"image_size": size}),
        sites=inside.sites,
        asks_classes=inside.classes is None,
        asks_size=size is None,
        asks_fit=inside.height != inside.width,
    )
