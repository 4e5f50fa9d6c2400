"""A device that is not there is refused in one line, before anything is computed."""

import os

import pytest
import torch

from silogan.common.device import available_cores, choose_device
from silogan.common.errors import ConfigError


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


def test_only_cores_that_this_process_may_use_are_counted() -> None:
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system cannot keep a process from a core")
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert available_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert available_cores() == len(allowed)
