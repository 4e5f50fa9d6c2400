"""The coordinator's strategy: instruct every site, check the replies, aggregate, checkpoint.

The steps after aggregation are in `server/rounds/after`, one file each.

Flower averages whatever arrives, waits for ever if sites are missing, and reports success for a run without a single
reply (flwr 1.41). So this class implements quorum, refusal of unusable replies and checkpoints itself.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from silogan.common.errors import FederationError, PrivacyRefusal, SiloganError
from silogan.common.models.weights import Weights, digest, generator_weights
from silogan.common.privacy.plan import Phase
from silogan.common.privacy.statistics import Statistic
from silogan.common.progress import begin, track
from silogan.common.registry import lookup
from silogan.common.wire.messages import STATISTICS, Instruction, Reply, pack
from silogan.common.wire.run_folder import QUARANTINE_FILE
from silogan.common.wire.study import Study
from silogan.server.fitting.release import FITS, Released, keeps_apart
from silogan.server.fitting.warm_start import largest_total
from silogan.server.rounds.after import AFTER_ROUND, EndedRound
from silogan.server.rounds.after.guard import GuardState
from silogan.server.rounds.aggregation import RULES
from silogan.server.rounds.checkpoint import Checkpoint
from silogan.server.rounds.events import ANSWERED, ASKED, FITTED, append_event, phase_event
from silogan.server.rounds.members import Members
from silogan.server.rounds.quarantine import Quarantine
from silogan.server.rounds.replies import RoundReplies, Usable
from silogan.server.rounds.stages import FITTING, name_of_rounds
from silogan.server.rounds.stages import STATISTICS as STAGE

_POLL_SECONDS = 0.2
_REMEMBERED = 4096  # digests of weights, 64 bytes each in a checkpoint


class FederatedGAN(Strategy):
    """Combines the sites' networks as `federation.aggregation` says, and keeps a moving average of the generator.

    Args:
        study: what is trained, by whom.
        start: the checkpoint to continue from.
        run_dir: where checkpoints, events and samples go.

    Raises:
        VerificationError: the file of violations is damaged.

    Privacy:
        Sees only what `silogan.common.wire.messages.Reply` carries, and the codes of refusals. Aggregation weights are
        public: uniform, or declared sizes.
    """

    def __init__(self, study: Study, start: Checkpoint, run_dir: Path) -> None:
        self._study = study
        self._state = start
        self._first_round = start.round
        self._run_dir = run_dir
        self._settings = study.scenario.federation
        self._rule = lookup(RULES, self._settings.aggregation, "federation.aggregation")
        self._roster = {site.name: index for index, site in enumerate(study.sites)}
        self._quarantine = Quarantine(run_dir / QUARANTINE_FILE, self._settings.quarantine_after)
        self._members = Members(self._roster, self._quarantine)
        self._asked_at = 0.0

    def summary(self) -> None:
        """Prints nothing: the command line shows the study."""

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """One instruction to every connected site, all sharing the same packed weights."""
        nodes = self._wait_for_sites(grid, all_of_them=server_round == 1)
        self._asked_at = time.monotonic()
        number, rounds = self._first_round + server_round, self._study.scenario.training.rounds
        begin(name_of_rounds(self._study), done=number - 1, of=rounds)
        return self._instructions(self._study.plan.training, number, arrays, nodes)

    def statistics(self, grid: Grid, phase: Phase, asked_for: Statistic, sent: Weights) -> Checkpoint:
        """Asks every site for a phase's noisy sums, and makes of them what the phase is for (`server/fitting`).

        Returns:
            The checkpoint from which the first round begins, written to the disk.

        Raises:
            PrivacyRefusal, FederationError: no quorum.
        """
        begin(STAGE, phase.name)
        nodes = self._wait_for_sites(grid, all_of_them=True)
        self._asked_at = time.monotonic()
        self._tell(phase, ASKED, 0, 0.0)
        size, sigma = asked_for.size, phase.noise_multiplier
        largest = largest_total(max(site.declared_size for site in self._study.sites), sigma, size)
        checked = RoundReplies(1, phase.name, {STATISTICS: torch.zeros(size)}, largest, self._members, {})
        asked = self._instructions(phase, 1, pack(sent), nodes)
        usable = checked.usable(grid.send_and_receive(asked, timeout=self._settings.round_timeout))
        accepted, apart = list[Reply](), Weights()
        total = torch.zeros(size, dtype=torch.float64)
        for reply, statistics in track(self._in_roster_order(usable), of=len(nodes)):
            total += statistics[STATISTICS]
            if keeps_apart(self._study):
                apart[reply.site] = statistics[STATISTICS]
            accepted.append(reply)
        self._require_quorum(f"phase {phase.name}", accepted, checked.refused)
        answered_at = time.monotonic()
        self._tell(phase, ANSWERED, len(accepted), answered_at - self._asked_at)
        if phase == [one for one in self._study.plan.phases if not one.takes_batches][-1]:
            begin(FITTING)
        released = {**self._state.released, phase.name: Released(total, len(accepted), apart)}
        weights = FITS[phase.name](self._study, released, self._state.weights)
        self._tell(phase, FITTED, len(accepted), time.monotonic() - answered_at)
        self._state = replace(
            self._state,
            weights=weights,
            ema=generator_weights(weights),
            training_seconds=self._state.training_seconds + time.monotonic() - self._asked_at,
            ledger_heads={**self._state.ledger_heads, **{reply.site: reply.ledger_head for reply in accepted}},
            phases=[*self._state.phases, phase.name],
            released=released,
        )
        self._state.save(self._run_dir)
        return self._state

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Combines the usable replies, writes checkpoint and event.

        Raises:
            PrivacyRefusal: no quorum, and sites refused for privacy.
            FederationError: no quorum for another reason, or too few replies for the aggregation.
        """
        number = self._first_round + server_round
        known = dict.fromkeys([*self._state.digests, digest(self._state.weights)])
        phase, sent, most = self._study.plan.training.name, self._state.weights, self._settings.max_update_norm
        checked = RoundReplies(number, phase, sent, most, self._members, known)
        usable: Iterable[Usable] = self._in_roster_order(checked.usable(replies))
        if self._settings.min_cosine is not None:
            usable = checked.pointing_with_the_others(list(usable), self._settings.min_cosine)
        combined = self._rule(self._state.weights, self._settings)
        accepted: list[Reply] = []
        for reply, weights in usable:
            combined.add(weights, self._weight(reply.site))
            accepted.append(reply)
        self._require_quorum(f"round {number}", accepted, checked.refused)
        weights, digests = combined.value(), list(known)[-_REMEMBERED:]
        heads = {**self._state.ledger_heads, **{reply.site: reply.ledger_head for reply in accepted}}
        state = replace(self._state, round=number, weights=weights, ledger_heads=heads, digests=digests)
        replied, refused, quarantined = len(accepted), checked.refused, self._members.quarantined
        ended = EndedRound(self._study, self._run_dir, self._state, self._asked_at, replied, refused, quarantined)
        for step in AFTER_ROUND:
            state = step(ended, state)
        self._state = state
        return pack(self._state.weights), None

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """No evaluation at the sites: figures on real data do not leave them."""
        return []

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """See `configure_evaluate`."""
        return None

    def _instructions(self, phase: Phase, number: int, arrays: ArrayRecord, nodes: list[int]) -> list[Message]:
        """The instruction for each node, with the last known head of its ledger."""
        guard = GuardState(**self._state.guard)
        asked = self._study.study_id, self._study.plan.plan_id, phase.name, number
        factor = guard.lr_factor(self._study.scenario.training.guard)
        instruction = Instruction(*asked, lr_factor=factor, fresh=guard.fresh)
        heads = {node: self._state.ledger_heads.get(self._members.site_of(node) or "", "") for node in nodes}
        return [
            Message(
                replace(instruction, known_head=heads[node]).to_record(arrays),
                node,
                MessageType.TRAIN,
                ttl=self._settings.round_timeout,  # a later reply is of no use: the site gives up then
                group_id=str(number),
            )
            for node in nodes
        ]

    def _wait_for_sites(self, grid: Grid, *, all_of_them: bool) -> list[int]:
        """Nodes to ask: in the first round all that are not in quarantine, if they come in time; later a quorum."""
        quorum, taken_out = self._study.scenario.quorum, self._members.quarantined
        left = len(self._roster) - len(taken_out)
        if left < quorum:
            problem = f"{left} of {len(self._roster)} sites are left, quorum is {quorum}{_in_quarantine(taken_out)}"
            raise FederationError("quorum", problem, "readmit a site that was repaired")
        wanted = left if all_of_them else quorum
        deadline = time.monotonic() + self._settings.join_timeout
        while len(nodes := self._members.connected(grid)) < wanted and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        if len(nodes) < quorum:
            many = f"{len(nodes)} of {len(self._roster)} sites connected, quorum is {quorum}"
            hint = "start the missing sites or lower federation.quorum"
            raise FederationError("quorum", many + _in_quarantine(taken_out), hint)
        return nodes

    def _tell(self, phase: Phase, step: str, replied: int, seconds: float) -> None:
        append_event(self._run_dir, phase_event(phase.name, step, replied, round(seconds, 3)))

    def _in_roster_order(self, replies: Iterable[Usable]) -> Iterator[Usable]:
        """Replies in the order of the roster, so that rounding does not depend on who answers first.

        Engines that deliver in that order (the in-process grid) are passed through without holding anything back.
        """
        waiting: dict[int, Usable] = {}
        kept_out = self._quarantine.sites
        awaited = [index for site, index in self._roster.items() if site not in kept_out]
        due = 0
        for reply, weights in replies:
            waiting[self._roster[reply.site]] = (reply, weights)
            while due < len(awaited) and awaited[due] in waiting:
                yield waiting.pop(awaited[due])
                due += 1
        for index in sorted(waiting):
            yield waiting.pop(index)

    def _weight(self, site: str) -> float:
        if self._settings.weights == "uniform":
            return 1.0
        return float(self._study.sites[self._roster[site]].declared_size)

    def _require_quorum(self, asked: str, accepted: list[Reply], refused: list[tuple[str, SiloganError]]) -> None:
        quorum = self._study.scenario.quorum
        if len(accepted) >= quorum:
            return
        private = [error for _, error in refused if isinstance(error, PrivacyRefusal)]
        if private and len(private) + len(accepted) >= quorum:
            raise PrivacyRefusal(asked, f"{len(private)} sites refused: {private[0]}", "the rounds before it are kept")
        why = f"; {refused[0][0]}: {refused[0][1]}" if refused else ""
        problem = f"{len(accepted)} usable replies of {len(self._roster)} sites, quorum is {quorum}{why}"
        problem += _in_quarantine(self._members.quarantined)
        raise FederationError(asked, problem, "repair the sites, then resume")


def _in_quarantine(sites: list[str]) -> str:
    """The part of an error that names the sites in quarantine; empty where there are none."""
    return f"; in quarantine: {', '.join(sites)}" if sites else ""
