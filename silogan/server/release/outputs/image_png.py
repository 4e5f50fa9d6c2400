"""Synthetic images as folders of PNG by class, in the layout of Hugging Face's `imagefolder`."""

import io
from collections.abc import Iterable
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from silogan.common.models.networks import Drawn
from silogan.server.release.about import DIGITAL_SOURCE_TYPE, About
from silogan.server.release.contact_sheet import png_info
from silogan.server.release.croissant import field, file_set, record_set
from silogan.server.release.outputs.image_folder import FILE_NAME, Layout, Pixels, Save, write_by_class
from silogan.server.release.outputs.written import Described

XMP = "XML:com.adobe.xmp"
"""Keyword of the text chunk that holds XMP (Adobe, XMP specification part 3, 2020)."""

_LOADING = """
from torchvision.datasets import ImageFolder
images = ImageFolder(".")  # or datasets.load_dataset("imagefolder", data_dir=".")
image, label = images[0]
"""


def described(kind: str, includes: str) -> Described:
    """The files that a glob pattern matches, and the picture in each, as Croissant has them."""
    fields = [
        field(FILE_NAME, "sc:Text", kind, {"fileProperty": "fullpath"}),
        field("image", "sc:ImageObject", kind, {"fileProperty": "content"}),
    ]
    return [file_set(kind, includes, "image/png")], [record_set(f"{kind}-by-file", fields)]


PNG = Layout("png", ".png", _LOADING, described("images", "*/*.png"))


def write_png(out: Path, drawn: Iterable[Drawn], about: About) -> None:
    """`out/CLASS/000000.png`, every file marked as synthetic."""
    write_by_class(out, drawn, about, PNG, saver(about))


def saver(about: About) -> Save:
    """Writes one image, marked."""
    info = marked(about)

    def save(path: Path, pixels: Pixels, _of: str, _number: int) -> None:
        path.write_bytes(png_of(pixels, info))

    return save


def png_of(pixels: Pixels, info: PngInfo) -> bytes:
    """An image [S, S] or [S, S, 3] as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", pnginfo=info)
    return buffer.getvalue()


def marked(about: About) -> PngInfo:
    """What every PNG says of itself, as text chunks and as XMP."""
    info = png_info(about.facts())
    info.add_itxt(XMP, _xmp(about))
    return info


def _xmp(about: About) -> str:
    facts = about.facts()
    properties = {
        "Iptc4xmpExt:DigitalSourceType": DIGITAL_SOURCE_TYPE,
        "xmp:CreatorTool": facts["software"],
        "xmp:CreateDate": about.created,
    }
    said = " ".join(f"{name}={quoteattr(value)}" for name, value in properties.items())
    rights = (
        f'<dc:rights><rdf:Alt><rdf:li xml:lang="x-default">{escape(about.licence)}</rdf:li></rdf:Alt></dc:rights>'
        if about.licence
        else ""
    )
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
        f'xmlns:dc="http://purl.org/dc/elements/1.1/" {said}>{rights}</rdf:Description></rdf:RDF></x:xmpmeta>'
        '<?xpacket end="r"?>'
    )
