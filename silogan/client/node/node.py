"""A hospital's folder: key, policy, register of cohorts, ledgers, and the studies that it has approved.

site.key            made here, and never sent anywhere
policy.yaml         what the hospital allows: its own to edit
cohorts.sqlite      the data sets that were registered
ledgers/NAME.sqlite what has been spent on the patients of a cohort
studies/ID/run.yaml each study as it was approved; beside it the site's state between rounds

What reads data, and the hospital's part in a round, are in `client/node/reading.py` and `client/node/hospital.py`: they
need torch, and what a hospital looks up and decides does not.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from silogan.client.ledger.entries import Approval, Cohort
from silogan.client.ledger.keys import SiteKey
from silogan.client.ledger.ledger import RANDOMNESS, SOMEBODY, Ledger, approval_of, charged_epsilon, studies_charged
from silogan.client.ledger.policy import Policy
from silogan.client.ledger.register import Register, Registration
from silogan.client.ledger.statement import Statement, state
from silogan.common.errors import Code, ConfigError, DataError, PrivacyRefusal, SiloganError, VerificationError
from silogan.common.files import write_bytes_atomically, writing
from silogan.common.modality import Data
from silogan.common.privacy.plan import plan_problem
from silogan.common.wire.run_folder import RUN_FILE
from silogan.common.wire.study import SiteDeclaration, Study, parse_study
from silogan.common.yaml_text import Excess, read_file

SITE_KEY, _POLICY, _REGISTER, _LEDGERS, _STUDIES = "site.key", "policy.yaml", "cohorts.sqlite", "ledgers", "studies"

_LONGEST_TEXT = 200
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Cost:
    """What a study asks of a cohort; ε is what the cohort's patients will have spent in all, as the ledger counts it.

    Attributes:
        epsilon_now, epsilon_after_round, epsilon_after: before it, after one round, and after all its rounds.
        epsilon_alone: the most that this study can ever cost by itself.
        earlier_studies: how many others the cohort's patients have been in.
        epsilon_budget: of the policy in force.
        delta: at which all of these are counted but `epsilon_alone`: that of the ledger.
        objections: why it cannot be approved, as `Node.approve` would say; empty if it can.
    """

    epsilon_now: float
    epsilon_after_round: float
    epsilon_after: float
    epsilon_alone: float
    earlier_studies: int
    epsilon_budget: float
    delta: float
    objections: tuple[str, ...]


def require_node(folder: Path) -> None:
    """Raises a `DataError` if a folder holds no node."""
    if not any((folder / name).exists() for name in (SITE_KEY, _REGISTER)):
        raise DataError(f"'{folder}'", "holds no node", "make one with silogan node init, or correct the path")


class Node:
    """The hospital's side of every study, in one folder.

    Args:
        folder: the folder, which `create` has made.

    Raises:
        DataError: it is not a node's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        require_node(folder)
        self.key = SiteKey.load(folder / SITE_KEY)
        self.register = Register(folder / _REGISTER, self.key)

    @staticmethod
    def is_at(folder: Path) -> bool:
        """Whether a folder is a node's."""
        return (folder / _REGISTER).is_file()

    @staticmethod
    def create(folder: Path, policy: str) -> "Node":
        """Makes the folder, the key and the policy file, whose text is `policy`; what is there already stays.

        Raises:
            ConfigError: the folder cannot be written.
        """
        with writing(f"node folder '{folder}'", "choose another folder"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name in (_LEDGERS, _STUDIES):
                (folder / name).mkdir(mode=0o700, exist_ok=True)
            if not (folder / _POLICY).exists():
                write_bytes_atomically(folder / _POLICY, policy.encode())
        SiteKey.create(folder / SITE_KEY)
        return Node(folder)

    def policy(self) -> Policy:
        """The hospital's policy as it is now.

        Raises:
            PrivacyRefusal: it is missing or cannot be read.
        """
        return Policy.load(self.folder / _POLICY)

    def add_cohort(
        self, *, name: str, site: str, data: Data, declared_size: int, rehearsal: bool = False
    ) -> tuple[Registration, tuple[str, ...]]:
        """Registers a data set and opens its ledger, or joins the ledger of patients who have one.

        Args:
            name: of the data set, at the hospital.
            site: the hospital's name in rosters.
            data: how to read it.
            declared_size: number of units, as the hospital makes it public.
            rehearsal: makes this a rehearsal node, for good: one that takes studies with a seed, whose noise others
                know, and therefore no patients' data. The first data set decides the kind of node.

        Returns:
            What is registered, and the names of the data sets that it shares patients with.

        Raises:
            DataError: the data is unusable, or the ledger of its patients is missing.
            PrivacyRefusal: see `Register.add`; or the policy's unit does not fit the data, or a rehearsal's data holds
                patients.
        """
        from silogan.client.node.reading import to_register  # noqa: PLC0415  (torch)

        SiteDeclaration(site, declared_size)
        if not _NAME.fullmatch(name):
            hint = "use at most 64 lower-case letters, digits, dots, hyphens and underscores"
            raise ConfigError(f"cohort {name!r}", "is not a valid name", hint)
        policy = self.policy()
        unit = policy.unit
        wanted = to_register(name, site, data, declared_size, unit, self.key, rehearsal=rehearsal)

        def open_ledger(registration: Registration, new: bool) -> None:
            if new:
                cohort = Cohort(unit, policy.delta, registration.fingerprint, rehearsal)
                Ledger.create(self.ledger_path(registration), cohort, policy, self.key)
            else:
                self.ledger(registration)

        registration, sharing = self.register.add(wanted, open_ledger)
        if registration.data.places() != wanted.data.places():
            problem = "is already registered with another data location"
            raise ConfigError(f"cohort '{name}'", problem, "move it with `silogan node relocate`")
        return registration, sharing

    def relocate(self, registration: Registration, **places: Path) -> Registration:
        """Has a cohort's data read from other places, where it must be the same patients.

        Args:
            registration: the cohort.
            places: the folders and files that hold its data now, by their keys in `data`: `root`, and where they have
                moved too `patients`, `rows`, `columns` and `masks`.

        Raises:
            DataError: the data cannot be read, holds no registered patient, or also holds others. Nothing changed.
            UsageError: the cohort's source has no such place.
        """
        from silogan.client.node.reading import moved  # noqa: PLC0415  (torch)

        return self.register.relocate(registration.name, moved(registration, places, self.key))

    def ledger(self, registration: Registration) -> Ledger:
        """The ledger of a cohort, which must be there.

        Raises:
            VerificationError: one is a rehearsal's and the other is not.
        """
        ledger = Ledger(self.ledger_path(registration), self.key)
        if ledger.cohort.rehearsal != registration.rehearsal:
            problem = "and its register disagree on whether this is a rehearsal"
            raise VerificationError(f"ledger '{registration.ledger}'", problem, "restore both from one backup")
        return ledger

    def check_cohort(self, registration: Registration) -> None:
        """Reads a cohort's data as a round would, and its ledger.

        Raises:
            DataError: the data holds what was not registered, which rounds leave out, or cannot be read, or the ledger
                is missing.
        """
        from silogan.client.node.reading import check_complete  # noqa: PLC0415  (torch)

        self.ledger(registration).entries()
        check_complete(registration, self.key)

    def ledger_paths(self) -> list[Path]:
        """The ledger files of all cohorts, present or missing."""
        return list(dict.fromkeys(self.ledger_path(one) for one in self.register.all()))

    def cost(self, study: Study, registration: Registration, server: str, override: str = "") -> Cost:
        """What a study would cost, and why it would be refused; nothing is written."""
        plan, study_id, ledger = study.plan, study.study_id, self.ledger(registration)
        budget, entries, delta = self.policy().epsilon, ledger.entries(), ledger.cohort.delta
        refusal = self.refusal(study, registration, server=server, override=override)
        objections = () if refusal is None else (refusal.problem,)
        others = [entry for entry in entries if entry.content.get("study_id") != study_id]
        now = charged_epsilon(entries)
        earlier = len(studies_charged(others))
        if not plan.private:
            return Cost(now, now, now, 0.0, earlier, budget, delta, objections)
        after_round = charged_epsilon(entries, study_id, plan.mechanisms(plan.phases[-1].name, 1))
        after = charged_epsilon(others, study_id, plan.mechanisms())
        alone = min(plan.epsilon, plan.epsilon_after() or 0.0)
        return Cost(now, after_round, after, alone, earlier, budget, delta, objections)

    def refusal(
        self, study: Study, registration: Registration, *, server: str, override: str = "", approver: str = SOMEBODY
    ) -> PrivacyRefusal | None:
        """The error that `approve` would raise; None if it would approve. Nothing is written."""
        misfit = _misfit(study, registration)
        if misfit is not None:
            return misfit
        approval = Approval(study.study_id, study.plan, study.scenario.model.family, server, override, approver)
        return self.ledger(registration).objection(approval, self.policy())

    def approve(
        self,
        study: Study,
        registration: Registration,
        *,
        server: str,
        override: str = "",
        approver: str = "",
        reason: str = "",
    ) -> bool:
        """Signs a study's hash into the ledger and keeps the study as it was signed.

        Returns:
            Whether it is approved now; False if the policy asks for another person who approves it too.

        Raises:
            PrivacyRefusal: it does not fit the cohort, the policy forbids it, or ε could come above 20 and there is no
                override. The refusal is written.
            ConfigError: the approver or the reason is not one line of at most 200 printable characters.
        """
        for thing, text in (("approver", approver), ("reason", reason), ("override", override)):
            if len(text) > _LONGEST_TEXT or not text.isprintable():
                raise ConfigError(thing, "is not one printable line", f"give at most {_LONGEST_TEXT} characters")
        ledger = self.ledger(registration)
        ledger.enforce(self.policy())
        misfit = _misfit(study, registration)
        if misfit is not None:
            ledger.refuse(study.study_id, study.plan.plan_id, 0, misfit)
            raise misfit
        named = study.study_id, study.plan, study.scenario.model.family, server
        approved = ledger.approve(Approval(*named, override, approver, reason))
        folder = self.study_folder(study.study_id)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        study.save(folder)
        return approved

    def reject(self, study: Study, registration: Registration, reason: str) -> None:
        """Records that the hospital rejects a study, or withdraws its approval."""
        self.ledger(registration).reject(study.study_id, study.plan.plan_id, reason)

    def approved(self, study_id: str, registration: Registration) -> Study:
        """A study that the hospital has approved for a cohort, as it was signed.

        Raises:
            PrivacyRefusal: it has not approved it, or it no longer fits. The refusal is written.
            ConfigError: the study was changed since. The refusal is written.
        """
        try:
            study = self._approved(study_id)
            misfit = _misfit(study, registration)
            if misfit is not None:
                raise misfit
        except SiloganError as refusal:
            self.ledger(registration).refuse(study_id, "", 0, refusal)
            raise
        return study

    def taking_part(self, study_id: str) -> tuple[Registration, Approval]:
        """The cohort that a study was approved for, and the approval.

        Raises:
            PrivacyRefusal: no cohort's ledger holds an approval of it. The refusal is written in each.
        """
        found: list[tuple[Registration, Approval]] = []
        for registration in self.register.all():
            approval = approval_of(self.ledger(registration).entries(), study_id)
            if approval is not None:
                found.append((registration, approval))
        if not found:
            refusal = _not_approved()
            for one in {one.ledger: one for one in self.register.all()}.values():
                self.ledger(one).refuse(study_id, "", 0, refusal)
            raise refusal
        roster = self._roster(study_id)
        fitting = [(one, approval) for one, approval in found if SiteDeclaration(one.site, one.declared_size) in roster]
        return (fitting or found)[0]

    def statements(self) -> dict[str, Statement]:
        """What each ledger has been charged, by its name."""
        ledgers = {one.ledger: one for one in self.register.all()}
        return {name: state(self.ledger(one).entries()) for name, one in ledgers.items()}

    def _roster(self, study_id: str) -> tuple[SiteDeclaration, ...]:
        """The sites of an approved study; empty if it cannot be read, which `site` then refuses."""
        try:
            return self._approved(study_id).sites
        except SiloganError:
            return ()

    def _approved(self, study_id: str) -> Study:
        """A study as it was kept when it was approved; whether it still is, the ledger knows."""
        folder = self.study_folder(study_id)
        if not _HASH.fullmatch(study_id) or not (folder / RUN_FILE).is_file():
            raise _not_approved()
        study = Study.load(folder)
        if study.study_id != study_id:
            raise ConfigError(f"run folder '{folder}'", "does not hold the approved study", "restore it")
        if not study.plan.private:  # such a site would have no ledger to ask
            raise PrivacyRefusal("study", "trains without privacy", "have the coordinator propose a private study")
        return study

    def ledger_path(self, registration: Registration) -> Path:
        """The ledger file of a cohort."""
        return self.folder / _LEDGERS / f"{registration.ledger}.sqlite"

    def study_folder(self, study_id: str) -> Path:
        """The run folder of an approved study."""
        return self.folder / _STUDIES / study_id


def read_proposal(path: Path) -> Study:
    """A study as a coordinator sends it: the `run.yaml` of its run. Nothing in it is believed: see `parse_study`.

    Raises:
        ConfigError, PrivacyRefusal: the file cannot be read, or something of it is wrong.
    """
    try:
        text = read_file(path)
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"study '{path.name}'", "cannot be read", "give a study's run.yaml") from None
    except Excess as error:
        raise ConfigError(f"study '{path.name}'", str(error.problem), "give a study's run.yaml") from None
    return parse_study(text)


def _not_approved() -> PrivacyRefusal:
    hint = "have the hospital review the study"
    return PrivacyRefusal("study", "is not approved by this hospital", hint, code=Code.NOT_APPROVED)


def _misfit(study: Study, registration: Registration) -> PrivacyRefusal | None:
    """Why a study cannot be run on a cohort, whatever the policy says; None if it can."""
    problems = list(_misfits(study, registration))
    return PrivacyRefusal("study", "; ".join(problems), "have the coordinator propose what fits") if problems else None


def _misfits(study: Study, registration: Registration) -> Iterator[str]:
    if registration.rehearsal != (study.plan.seeded or study.scenario.seed is not None):
        yield RANDOMNESS[registration.rehearsal]
    if study.plan.unit != registration.unit:
        yield f"its unit is the {study.plan.unit}, but the cohort's is the {registration.unit}"
    problem = plan_problem(study.scenario, study.plan)
    if problem is not None:
        yield problem
    if study.scenario.training.precision != "float32":
        yield f"training.precision is {study.scenario.training.precision}: a node computes in float32"
    declaration = SiteDeclaration(registration.site, registration.declared_size)
    if declaration not in study.sites:
        yield f"its roster does not hold '{declaration.name}' with the declared size {declaration.declared_size}"
    if study.schema != registration.schema:
        what = registration.schema.difference(study.schema)
        yield f"its records differ from the cohort's in shape or classes ({what})"
