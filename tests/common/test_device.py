"""A device that is not there is refused in one line, before anything is computed."""

import pytest
import torch

from common.device import choose_device
from common.errors import ConfigError


@pytest.mark.parametrize(("available", "expected"), [(True, "cuda"), (False, "cpu")])
def test_auto_is_the_gpu_if_there_is_one(monkeypatch: pytest.MonkeyPatch, available: bool, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    assert choose_device("auto").type == expected


def test_a_named_device_is_used() -> None:
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("wanted", ["", "gpu", "cuda:99", "cuda:-1", "cuda:99999999999", "cpu:x", "hpu", "meta", "\n"])
def test_what_is_not_on_this_machine_is_refused_by_name(wanted: str) -> None:
    with pytest.raises(ConfigError) as caught:
        choose_device(wanted)
    assert caught.value.thing == "training.device"
    assert f"'{wanted.strip() or ' ' * bool(wanted)}' is not on this machine" in str(caught.value)
