"""The number of discriminator steps before each generator step: fixed, or adapted to D's accuracy on fakes."""

from dataclasses import dataclass

from torch import Tensor

from silogan.common.config.scenario import Adaptive


class DiscriminatorFrequency:
    """Counts discriminator steps and says when the generator is due.

    The adaptive rule (Bie, Kamath and Zhang, 2023, section 4.3) starts on the ladder's first rung and, after at least
    `patience` generator steps on a rung, goes up one when the moving average of D's accuracy on fakes is below the
    threshold.

    Privacy:
        Looks at D's answers to fakes only: post-processing of private weights.
    """

    @dataclass
    class _State:
        rung: int = 0
        d_steps: int = 0
        g_steps_on_rung: int = 0
        fake_accuracy: Tensor | float = 1.0

    def __init__(self, rule: int | Adaptive) -> None:
        self._ladder = rule.ladder if isinstance(rule, Adaptive) else (rule,)
        self._rule = rule if isinstance(rule, Adaptive) else Adaptive()
        self._state = self._State()

    @property
    def d_steps_per_g_step(self) -> int:
        """K as it stands."""
        return self._ladder[self._state.rung]

    @property
    def fake_accuracy(self) -> float:
        """Moving average of D's accuracy on fakes, in [0, 1]."""
        return float(self._state.fake_accuracy)

    def observe(self, fake_accuracy: Tensor | float) -> None:
        """Notes a discriminator step and D's accuracy on its fakes, in [0, 1]; does not wait for a GPU."""
        decay = self._rule.ema
        self._state.fake_accuracy = decay * self._state.fake_accuracy + (1 - decay) * fake_accuracy
        self._state.d_steps += 1

    def generator_is_due(self) -> bool:
        """Whether k discriminator steps have passed; counts the generator step that then follows."""
        state = self._state
        if state.d_steps < self.d_steps_per_g_step:
            return False
        state.d_steps = 0
        state.g_steps_on_rung += 1
        may_climb = state.g_steps_on_rung >= self._rule.patience and state.rung + 1 < len(self._ladder)
        if may_climb and state.fake_accuracy < self._rule.threshold:
            state.rung += 1
            state.g_steps_on_rung = 0
        return True

    def state(self) -> dict[str, float]:
        """Plain values to keep between rounds."""
        return {**vars(self._state), "fake_accuracy": self.fake_accuracy}

    def load_state(self, state: dict[str, float]) -> None:
        """Restores what `state` returned."""
        self._state = self._State(**state)  # pyright: ignore[reportArgumentType]
