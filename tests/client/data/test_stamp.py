"""The stamp of a data set's files; that a change of images is seen: tests/attacks/test_withdrawn_images.py."""

from pathlib import Path

from silogan.client.data.stamp import stamp
from silogan.common.modality.image_options import Digits, Folder, MedMnist


def test_an_archive_behind_a_link_is_looked_at_and_not_the_link(tmp_path: Path) -> None:
    archive, link = tmp_path / "real.npz", tmp_path / "root" / "x.npz"
    archive.write_bytes(b"one")
    link.parent.mkdir()
    link.symlink_to(archive)
    for data in (MedMnist(root=link), MedMnist(root=link.parent, dataset="x")):
        before = stamp(data)
        archive.write_bytes(archive.read_bytes() + b".")
        assert stamp(data) != before


def test_links_in_a_circle_and_to_nowhere_have_an_end(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to(tmp_path)
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    data = Folder(root=tmp_path, classes=("a", "b"))
    assert stamp(data) == stamp(data)


def test_embedded_data_has_no_files() -> None:
    assert stamp(Digits()) == stamp(Digits())
