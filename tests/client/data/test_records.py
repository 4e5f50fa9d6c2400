import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from silogan.client.data import Records
from silogan.common.modality.image import PIXELS


def test_select_takes_the_same_images_of_every_column() -> None:
    stored = {PIXELS: torch.arange(5, dtype=torch.uint8).reshape(5, 1, 1, 1), "age": torch.arange(5) / 2}
    images = Records(stored, torch.tensor([10, 11, 12, 13, 14]), torch.arange(5) + 20)
    for index in (np.array([3, 0]), torch.tensor([3, 0])):
        chosen = images.select(index)
        assert len(chosen) == 2
        assert chosen.stored[PIXELS].flatten().tolist() == [3, 0]
        assert chosen.stored["age"].tolist() == [1.5, 0.0]
        assert chosen.labels.tolist() == [13, 10]
        assert chosen.sites is not None
        assert chosen.sites.tolist() == [23, 20]


def test_select_without_sites() -> None:
    images = Records({PIXELS: torch.zeros(2, 1, 1, 1, dtype=torch.uint8)}, torch.tensor([0, 1]))
    assert images.select(np.array([1])).sites is None


def test_patients_are_selected_and_moved_with_their_images() -> None:
    images = Records(
        {PIXELS: torch.zeros(3, 1, 1, 1, dtype=torch.uint8)}, torch.zeros(3), patients=torch.tensor([0, 1, 1])
    )
    chosen = images.select(np.array([2, 0])).to(torch.device("cpu"))
    assert chosen.patients is not None
    assert chosen.patients.tolist() == [1, 0]
    assert chosen.sites is None


@given(st.lists(st.integers(-3, 3) | st.text(max_size=1)))
def test_equal_names_get_equal_codes_without_gaps(names: list[int | str]) -> None:
    found = Records({PIXELS: torch.zeros(len(names), 1, 8, 8, dtype=torch.uint8)}, torch.zeros(len(names))).of_patients(
        names
    )
    codes, kept = found.patients, found.patient_names
    assert codes is not None
    assert kept is not None
    assert [kept[code] for code in codes.tolist()] == [str(name) for name in names]
    assert codes.dtype == torch.int64
    assert sorted(set(codes.tolist())) == list(range(len(set(names))))
    assert len(set(zip(names, codes.tolist(), strict=True))) == len(set(names))


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from("abc"))))
def test_a_name_at_two_sites_is_two_patients_unless_one_hospital_holds_both(found: list[tuple[int, str]]) -> None:
    sites, names = torch.tensor([site for site, _ in found], dtype=torch.int64), [name for _, name in found]
    rows = Records({"x": torch.zeros(len(found))}, torch.zeros(len(found)), sites).of_patients(names, by_site=True)
    alone = rows.of_one_hospital()
    for records, told in ((rows, found), (alone, names)):
        assert records.patients is not None
        assert records.patient_names is not None
        assert [records.patient_names[code] for code in records.patients.tolist()] == names
        assert (
            len(set(zip(told, records.patients.tolist(), strict=True)))
            == len(set(told))
            == len(records.patients.unique())
        )
    assert alone.sites is None
    assert alone.of_one_hospital().patient_names == alone.patient_names
