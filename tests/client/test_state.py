from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import Adam

from silogan.client.state import RoundState, SiteState, request_key
from silogan.common.errors import DataError
from silogan.common.wire.messages import Instruction, Reply, Weights

ASKED = Instruction("5a" * 32, "1b" * 32, "training", 2)


def state_of(round_number: int, **changes: Any) -> RoundState:
    reply = Reply("hospital", "training", round_number, "ab" * 32)
    weights = {"discriminator.w": torch.arange(3.0), "generator.b": torch.tensor(float("nan"))}
    return replace(RoundState("key", reply, weights, {"frequency": {"rung": 1}}), **changes)


def adam_state() -> dict[str, Any]:
    layer = nn.Linear(2, 1)
    optimizer = Adam(layer.parameters(), lr=1e-3, betas=(0.5, 0.999))
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return optimizer.state_dict()


def test_state_comes_back_as_it_was(tmp_path: Path) -> None:
    kept = state_of(1, trainer={"optimizer": adam_state(), "frequency": {"rung": 2, "fake_accuracy": 0.1}})
    SiteState(tmp_path / "new" / "folder").save(kept)
    found = SiteState(tmp_path / "new" / "folder").load("training", 1)
    assert found is not None
    assert (found.request_key, found.reply) == (kept.request_key, kept.reply)
    torch.testing.assert_close(found.weights, kept.weights, rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(found.trainer, kept.trainer, rtol=0, atol=0)


def test_there_is_nothing_before_the_first_round(tmp_path: Path) -> None:
    assert SiteState(tmp_path).load("training", 0) is None
    assert SiteState(tmp_path).load("training", 1) is None


def test_only_the_last_two_rounds_are_kept(tmp_path: Path) -> None:
    states = SiteState(tmp_path)
    for number in range(8, 12):
        states.save(state_of(number))
    assert [number for number in range(20) if states.load("training", number) is not None] == [10, 11]
    assert len(list(tmp_path.iterdir())) == 2


def test_round_that_is_repeated_replaces_its_state(tmp_path: Path) -> None:
    states = SiteState(tmp_path)
    states.save(state_of(1, request_key="old"))
    states.save(state_of(1, request_key="new"))
    found = states.load("training", 1)
    assert found is not None
    assert found.request_key == "new"


@pytest.mark.parametrize("damage", [lambda _: b"", lambda _: b"garbage", lambda content: content[:-200]])
def test_damaged_state_is_named_in_one_line(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    states = SiteState(tmp_path)
    states.save(state_of(1))
    (file,) = tmp_path.iterdir()
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(DataError, match="site state of round 1 of training") as caught:
        states.load("training", 1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [{}, {"request_key": "key"}, [1, 2], torch.zeros(2)])
def test_file_of_something_else_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "training-000001.pt")
    with pytest.raises(DataError):
        SiteState(tmp_path).load("training", 1)


class Exploit:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("exploited"),))


def test_file_cannot_run_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    states = SiteState(tmp_path)
    torch.save(Exploit(), tmp_path / "training-000001.pt")
    with pytest.raises(DataError):
        states.load("training", 1)
    assert not Path("exploited").exists()


def test_failed_save_leaves_the_state_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states = SiteState(tmp_path)
    states.save(state_of(1, request_key="old"))

    def full(content: object, file: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space"):
        states.save(state_of(1, request_key="new"))
    found = states.load("training", 1)
    assert found is not None
    assert found.request_key == "old"
    assert len(list(tmp_path.iterdir())) == 1


def weights() -> Weights:
    return {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(1.0)}


def test_request_key_does_not_depend_on_how_weights_are_held() -> None:
    key = request_key("hospital", ASKED, weights())
    assert len(key) == 64
    assert request_key("hospital", ASKED, dict(reversed(weights().items()))) == key
    strided = {**weights(), "a": weights()["a"].T.contiguous().T}
    assert not strided["a"].is_contiguous()
    assert request_key("hospital", ASKED, strided) == key


@pytest.mark.parametrize(
    "other",
    [
        ("elsewhere", ASKED, weights()),
        ("hospital", replace(ASKED, round=3), weights()),
        ("hospital", replace(ASKED, plan_id="0" * 64), weights()),
        ("hospital", replace(ASKED, study_id="0" * 64), weights()),
        ("hospital", ASKED, {**weights(), "b": torch.tensor(1.0 + 2**-23)}),
        ("hospital", ASKED, {**weights(), "b": torch.tensor([1.0])}),
        ("hospital", ASKED, {**weights(), "b": torch.tensor(1065353216, dtype=torch.int32)}),  # the bits of 1.0
        ("hospital", ASKED, {**weights(), "a": torch.arange(6.0).reshape(3, 2)}),
        ("hospital", ASKED, {"a": weights()["a"], "c": torch.tensor(1.0)}),
        ("hospital", ASKED, {"a": weights()["a"]}),
        ("hospital", ASKED, {**weights(), "c": torch.tensor([])}),
    ],
    ids=["site", "round", "plan", "study", "value", "shape", "type", "order", "name", "missing", "more"],
)
def test_request_key_depends_on(other: tuple[str, Instruction, Weights]) -> None:
    assert request_key(*other) != request_key("hospital", ASKED, weights())
