"""The site's policy: what the hospital allows to be done with its patients' data, in its own file.

A policy only forbids. Whoever asks can be stricter than it, never laxer; what it does not name is not allowed, and
without a policy nothing is.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import Field

from silogan.common.bounds import Clip, Count, Delta, Epsilon, Noise, Rate, RecordsPerPatient, Text
from silogan.common.config.scenario import Section, parse, read_keys
from silogan.common.errors import Code, ConfigError, PrivacyRefusal
from silogan.common.privacy.plan import Phase, PrivacyPlan, Unit
from silogan.common.yaml_text import read_yaml

_NO_LIMIT = 2**53
_Names = Annotated[tuple[Text, ...], Field(max_length=1000, strict=False)]


class Policy(Section):
    """What one hospital allows. Every limit must be given; there are no defaults."""

    epsilon: Epsilon = Field(description="the most that may be spent on any patient, over all runs, servers and years")
    delta: Delta = Field(description="probability that the bound may fail")
    unit: Unit = Field(description="patient, or record where the data does not say who is who")
    min_noise_multiplier: Noise = Field(description="smallest σ")
    max_clip_norm: Clip = Field(description="largest C")
    max_sample_rate: Rate = Field(description="largest q")
    max_records_per_patient: RecordsPerPatient = Field(description="largest k: records of one patient in a step")
    max_steps_per_round: Count = Field(description="private steps between two replies")
    max_steps: Count = Field(description="private steps in all, over all runs")
    families: _Names = Field(description="model families that may be trained")
    servers: _Names = Field(description="coordinators that may ask")
    approvers: Annotated[int, Field(ge=1, le=2)] = 1
    """people of different names who must approve a study before it may run"""

    def objections(self, plan: PrivacyPlan, family: str, server: str) -> Iterator[str]:
        """The policy's objections to a plan, in words, except for the budget, which the ledger checks."""
        if not plan.private:
            yield "it trains without privacy"
        if plan.unit != self.unit:
            yield f"its unit is the {plan.unit}, not the {self.unit}"
        if not plan.delta <= self.delta:
            yield f"δ {plan.delta:g} is above {self.delta:g}"
        for phase in plan.phases:
            yield from (f"{phase.name}: {problem}" for problem in self._objections_to(phase))
        if family not in self.families:
            yield f"model family '{family}' is not allowed"
        if server not in self.servers:
            yield f"server '{server}' is not allowed"

    def _objections_to(self, phase: Phase) -> Iterator[str]:
        limits = (
            ("clip_norm", phase.clip_norm, self.max_clip_norm),
            ("sample_rate", phase.sample_rate, self.max_sample_rate),
            ("records_per_patient", phase.records_per_patient, self.max_records_per_patient),
            ("steps_per_round", phase.steps_per_round, self.max_steps_per_round),
            ("steps", phase.steps, self.max_steps),
        )
        for name, asked, most in limits:
            if not asked <= most and (phase.takes_batches or name not in ("clip_norm", "sample_rate")):
                yield f"{name} {asked:g} is above {most:g}"
        if not phase.noise_multiplier >= self.min_noise_multiplier:
            yield f"noise_multiplier {phase.noise_multiplier:g} is below {self.min_noise_multiplier:g}"

    @staticmethod
    def load(path: Path) -> "Policy":
        """Reads the site's policy.

        Raises:
            PrivacyRefusal: there is none, or it cannot be read, or it has a key that is unknown, missing or wrong.
        """
        try:
            values = read_keys(path, "policy", "start from the file that `silogan node init` wrote")
            return parse(Policy, values, "policy")
        except ConfigError as error:
            problem = f"{error.thing}: {error.problem}"
            raise PrivacyRefusal(f"policy '{path.name}'", problem, error.hint, code=Code.POLICY) from None

    @staticmethod
    def of_plan(plan: PrivacyPlan, family: str, server: str) -> "Policy":
        """The policy of a simulated hospital: it allows just what the study asks for."""
        batches = [phase for phase in plan.phases if phase.takes_batches] or plan.phases
        return Policy(
            epsilon=plan.epsilon,
            delta=plan.delta,
            unit=plan.unit,
            min_noise_multiplier=min(phase.noise_multiplier for phase in plan.phases),
            max_clip_norm=max(phase.clip_norm for phase in batches),
            max_sample_rate=max(phase.sample_rate for phase in batches),
            max_records_per_patient=max(phase.records_per_patient for phase in plan.phases),
            max_steps_per_round=max(phase.steps_per_round for phase in plan.phases),
            max_steps=_NO_LIMIT,  # an interrupted round that is paid again counts twice; the budget decides
            families=(family,),
            servers=(server,),
        )


def template(*, epsilon: float, delta: float, unit: Unit) -> str:
    """The policy file that a hospital starts from: its budget, cautious limits, and no server.

    Raises:
        ConfigError: ε or δ is out of range.
    """
    from silogan.common.models.networks import FAMILIES  # noqa: PLC0415  (torch, which reading a policy does without)

    text = f"""\
# What this hospital allows with its patients' data. Whatever is not allowed here is refused; every key must stand here.
epsilon: {epsilon}                # the most that may be spent on any patient, over all runs, servers and years
delta: {delta:.1e}               # as the ledger was opened with; smaller than one over the number of patients
unit: {unit}               # patient, or record where the data does not say who is who
min_noise_multiplier: 0.4   # smallest σ: one sum of all patients with it costs ε = 11.9 at δ = 1e-4
max_clip_norm: 10.0         # largest C
max_sample_rate: 0.25       # largest q: chance of a patient to be in a step's batch
max_records_per_patient: 4  # largest k: records of one patient in a step
max_steps_per_round: 200    # private steps between two replies
max_steps: 100000           # private steps in all, over all runs
families: [{", ".join(sorted(FAMILIES))}]
servers: []                 # coordinators that may ask, as [coordinator.example.org]; none yet
approvers: 1                # people of different names who must approve a study before it may run: 1 or 2
"""
    parse(Policy, read_yaml(text), "policy")
    return text
