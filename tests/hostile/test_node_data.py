"""An engineer who has only the guide: relative paths, moved data, another δ, and the questions of `init`."""

import os
import pty
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from silogan.client.data.location import check_readable
from silogan.client.node.node import Node
from silogan.client.node.preflight import preflight
from silogan.common.errors import ConfigError, DataError, PrivacyRefusal, UsageError
from silogan.common.modality import Data
from silogan.common.modality.image_options import Folder, MedMnist
from tests.ledger_faults.hospital import (
    DECLARED_SIZE,
    DELTA,
    SERVER,
    SITE,
    Hospital,
    assert_clean,
    assert_one_line,
    policy_text,
)

ROOT = Path(__file__).parent.parent.parent


pytestmark = pytest.mark.usefixtures("one_thread")


def write_images(root: Path, count: int = 12) -> None:
    """8x8 images of two classes, all different."""
    rng = torch.Generator().manual_seed(1)
    for number in range(count):
        path = root / ("benign", "malignant")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(torch.randint(0, 256, (8, 8), generator=rng, dtype=torch.uint8).numpy()).save(path)


def images_at(root: str | Path) -> Data:
    return Folder(root=Path(root), classes=("benign", "malignant"), image_size=8, channels=1)


@pytest.fixture
def hospital(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hospital:
    """A hospital that was registered with a relative path, from its engineer's own working directory."""
    write_images(tmp_path / "here" / "images")
    node = Node.create(tmp_path / "node", policy_text())
    monkeypatch.chdir(tmp_path / "here")
    node.add_cohort(name="xrays", site=SITE, data=images_at("images"), declared_size=DECLARED_SIZE)
    monkeypatch.chdir(tmp_path)
    return Hospital(node, "xrays")


def test_a_relative_path_means_the_same_wherever_the_executor_works(hospital: Hospital, tmp_path: Path) -> None:
    assert hospital.node.register.get(None).data.root == tmp_path / "here" / "images"
    study = hospital.study()
    hospital.approve(study)
    hospital.round(study)
    assert hospital.kinds() == ["approve", "reserve", "settle"]


def make_relative(hospital: Hospital) -> None:
    """A node whose register holds a relative path, as older software wrote it."""
    register = hospital.node.register
    register.relocate("xrays", images_at("images"))
    assert register.get(None).data.root == Path("images")


def test_data_that_cannot_be_opened_costs_nothing(hospital: Hospital, tmp_path: Path) -> None:
    study = hospital.study()
    hospital.approve(study)
    (tmp_path / "here" / "images").rename(tmp_path / "elsewhere")
    for _ in range(3):
        with pytest.raises(DataError, match=r"is not there.*relocate") as caught:
            hospital.round(study)
        assert_one_line(caught.value)
    make_relative(hospital)
    with pytest.raises(DataError, match=r"is relative.*relocate"):
        hospital.round(study)
    assert hospital.kinds() == ["approve"]
    assert hospital.ledger.epsilon() == 0
    failed = [check for check in preflight(hospital.node.folder) if check.name == "data 'xrays'" and not check.ok]
    assert len(failed) == 1


def test_data_may_be_a_single_file(tmp_path: Path) -> None:
    (tmp_path / "images.npz").write_bytes(b"any")
    check_readable(MedMnist(root=tmp_path / "images.npz"))


def test_data_that_may_not_be_read_is_named_by_its_root_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path)

    def denied(path: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(DataError, match="cannot be read") as caught:
        check_readable(images_at(tmp_path))
    assert ".png" not in str(caught.value)


def test_a_state_that_cannot_be_written_costs_nothing(hospital: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    study = hospital.study()
    hospital.approve(study)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("silogan.client.state.tempfile.TemporaryFile", full)
    with pytest.raises(DataError, match="cannot be written"):
        hospital.round(study)
    assert hospital.ledger.epsilon() == 0


def test_a_cohort_can_be_moved_and_only_with_its_own_patients(hospital: Hospital, tmp_path: Path) -> None:
    study = hospital.study()
    hospital.approve(study)
    here, there = tmp_path / "here" / "images", tmp_path / "there"
    here.rename(there)
    cohort = hospital.node.register.get(None)
    write_images(tmp_path / "more", count=24)
    (tmp_path / "none").mkdir()
    for wrong in ("more", "none", "nowhere"):
        with pytest.raises(DataError) as caught:
            hospital.node.relocate(cohort, root=tmp_path / wrong)
        assert_one_line(caught.value)
    assert hospital.node.register.get(None) == cohort
    with pytest.raises(ConfigError, match=r"another data location.*relocate"):
        hospital.node.add_cohort(name="xrays", site=SITE, data=images_at(there), declared_size=DECLARED_SIZE)
    moved = hospital.node.relocate(cohort, root=there)
    assert moved == replace(cohort, data=images_at(there))
    assert Node(hospital.node.folder).register.all() == [moved]
    hospital.round(study)
    assert hospital.kinds() == ["approve", "reserve", "settle"]
    assert_clean(hospital)


def test_a_place_that_a_source_does_not_have_is_refused(hospital: Hospital) -> None:
    """An archive holds its patients' codes itself."""
    cohort = replace(hospital.node.register.get(None), data=MedMnist(root=Path("images.npz")))
    with pytest.raises(UsageError, match=r"data\.patients: is not an option of source 'medmnist'"):
        hospital.node.relocate(cohort, root=Path("moved.npz"), patients=Path("manifest.csv"))


def test_a_cohort_does_not_share_patients_with_itself(hospital: Hospital, tmp_path: Path) -> None:
    data = images_at(tmp_path / "here" / "images")
    _, sharing = hospital.node.add_cohort(name="xrays", site=SITE, data=data, declared_size=DECLARED_SIZE)
    assert sharing == ()
    _, sharing = hospital.node.add_cohort(name="copy", site=SITE, data=data, declared_size=DECLARED_SIZE)
    assert sharing == ("xrays",)


@pytest.mark.parametrize(
    ("delta", "change"),
    [(1e-3, {}), (DELTA, {"servers": []}), (DELTA, {"delta": 1e-3}), (DELTA, {"epsilon": 0.1}), (DELTA, {})],
    ids=["study's δ", "server", "policy's δ", "budget", "allowed"],
)
def test_plan_says_what_approve_will_say(
    hospital: Hospital, delta: float, change: dict[str, object], tmp_path: Path
) -> None:
    hospital.write_policy(**change)
    study, cohort = hospital.study(delta=delta), hospital.node.register.get(None)
    said = hospital.node.refusal(study, cohort, server=SERVER)
    assert hospital.kinds() == []
    if said is None:
        hospital.approve(study)
        return
    with pytest.raises(PrivacyRefusal) as caught:
        hospital.approve(study)
    assert str(said) == str(caught.value)
    assert hospital.node.cost(study, cohort, SERVER).objections == (said.problem,)


def silogan(*words: object) -> list[str]:
    return [sys.executable, "-m", "silogan", *map(str, words)]


def test_init_asks_on_a_terminal_and_explains(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("source: digits\n", encoding="utf-8")
    ours, theirs = pty.openpty()
    answers = ["xrays", "bergen", str(tmp_path / "data.yaml"), "n", "300", "0.0001"]
    command = silogan("node", "init", tmp_path / "node")
    process = subprocess.Popen(command, cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    os.write(ours, "".join(f"{answer}\n" for answer in answers).encode())
    said = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # the other side was closed
            break
        said += piece
        if not piece:
            break
    os.close(ours)
    assert process.wait() == 0, said.decode()
    assert "keeps it permanently" in said.decode()
    assert "fixed at δ = 0.0001" in said.decode()
    registration = Node(tmp_path / "node").register.get("xrays")
    assert (registration.site, registration.unit, registration.declared_size) == ("bergen", "record", 300)


def test_init_never_asks_a_script(tmp_path: Path) -> None:
    command = silogan("node", "init", tmp_path / "node", "--cohort", "xrays")
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--site: is missing" in done.stderr
    assert not (tmp_path / "node").exists()
