"""A study in plain words, for the person at the hospital who decides about it."""

from collections.abc import Iterator

from silogan.client.ledger.register import Registration
from silogan.client.node.node import Cost
from silogan.common.modality.joint import JointSchema
from silogan.common.modality.table import TableSchema
from silogan.common.modality.table_options import Mixture
from silogan.common.pages.words import budget, epsilon
from silogan.common.privacy.plan import PAIRS, SINGLES, Phase, PrivacyPlan
from silogan.common.privacy.strength import delta_remark, strength
from silogan.common.wire.study import Study

RELEASED = {
    "statistics": "averages or covariances of each class's images, blurred, are released once",
    "training": "both networks are trained in private steps",
    SINGLES: "noisy counts of the values of each column, by class, are released once",
    PAIRS: "noisy counts of the values of each two columns together are released once",
}
"""What is asked for, by the name of a phase, else by its kind."""


BY_HOSPITAL = (
    "rows will say which hospital they resemble; whoever has the generator sees each hospital's noisy sums apart"
)


def explain(study: Study, registration: Registration, server: str, cost: Cost) -> Iterator[tuple[str, str]]:
    """What the study does and would cost: pairs of a topic and its explanation."""
    plan, scenario = study.plan, study.scenario
    yield "study", f"{scenario.title or scenario.name}, {len(study.sites)} hospitals, proposed by {server}"
    yield "hash", study.study_id
    yield "data", f"cohort '{registration.name}', declared size {registration.declared_size}"
    trained = any(phase.takes_batches for phase in plan.phases)
    sees = "a discriminator sees the data" if trained else "nothing is trained on the data"
    yield "model", f"{scenario.model.family}, {study.schema.describe()}; {sees}"
    row = study.schema.row if isinstance(study.schema, JointSchema) else study.schema
    if isinstance(row, TableSchema):
        yield "columns", ", ".join(column.name for column in (*row.columns, *row.code_sets))
    if isinstance(scenario.model, Mixture) and scenario.model.by_hospital:
        yield "hospitals", BY_HOSPITAL
    if (credit := scenario.model.credit()) is not None:
        yield (
            "public images",
            f"drawn images have {credit}; no hospital needs them, and they cost no privacy",
        )
    for phase in plan.phases:
        yield phase.name, "; ".join(_terms(plan, phase))
    if plan.seeded:
        yield "noise", "from a seed that others know: a rehearsal without patients' data"
    alone = f"at most {epsilon(cost.epsilon_alone)}, whatever is asked under this approval"
    yield "ε of this study", f"{alone}, at the plan's δ = {plan.delta:g}"
    if remark := delta_remark(plan.delta, registration.declared_size, plan.unit):
        yield "δ", remark
    now = f"{epsilon(cost.epsilon_now)} of {budget(cost.epsilon_budget)} spent on these patients"
    yield "ε now", f"{now}, at δ = {cost.delta:g} (ledger)"
    yield "ε after one round", epsilon(cost.epsilon_after_round)
    share = cost.epsilon_after / cost.epsilon_budget
    yield "ε after all", f"{epsilon(cost.epsilon_after)}, {share:.0%} of the budget: {strength(cost.epsilon_after)}"
    if cost.earlier_studies:
        yield (
            "counted",
            f"with {cost.earlier_studies} earlier on the same patients, by a rule that also holds where a study was "
            "proposed because of what others answered: about 7% more noise for the same ε",
        )
    if cost.epsilon_after > cost.epsilon_budget:
        yield "budget", "is not enough for all rounds; the ledger stops the study when the budget is spent"
    yield (
        "who sees what",
        "the coordinator sees weights and sums after noise, and the head of the ledger; no record, gradient, loss or "
        "exact count leaves. It need not be trusted: the guarantee holds against it",
    )
    yield "verdict", "forbidden: " + "; ".join(cost.objections) if cost.objections else "allowed by the policy"


def _terms(plan: PrivacyPlan, phase: Phase) -> Iterator[str]:
    """What is asked for in a phase, how often, and its part of the cost."""
    yield RELEASED.get(phase.name, RELEASED[phase.kind])
    if phase.takes_batches:
        yield f"each {plan.unit} takes part in a step with probability q = {phase.sample_rate:g}"
    adds = f"clipped to C = {phase.clip_norm:g}, noise σ = {phase.noise_multiplier:g}"
    yield f"each adds the mean over at most k = {phase.records_per_patient} of its records, {adds}"
    spare = f"{phase.spare_rounds} more if as many are interrupted (spare rounds)"
    yield f"rounds: {phase.last_round}, each answered once; {spare}"
    yield f"at most {phase.steps} steps: {phase.rounds} rounds of {phase.steps_per_round}"
    yield f"{phase.share:.0%} of the information that ε = {plan.epsilon:g} pays for"
