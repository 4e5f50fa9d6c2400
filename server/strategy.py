"""The coordinator's strategy: ask every site for a round, check, average, remember.

Flower averages whatever arrives, waits for ever where sites are missing, and calls a run without a single reply a
success (flwr 1.41); so quorum, refusal of unusable replies and checkpoints are this class's own.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from common.errors import FederationError, PrivacyRefusal, SiloganError
from common.messages import Instruction, Reply, Weights, pack, refusal_from_record
from common.study import Study
from server.aggregation import WeightedMean, checked_weights, distance, moving_average
from server.checkpoint import Checkpoint
from server.events import append_event
from server.samples import save_round_samples

_POLL_SECONDS = 0.2


class FederatedGAN(Strategy):
    """Weighted averaging of both networks with public weights, and a moving average of the generator.

    Args:
        study: what is trained, by whom.
        start: where to go on from.
        run_dir: where checkpoints, events and samples go.

    Privacy:
        Sees only what `common.messages.Reply` carries. Aggregation weights are public: uniform, or declared sizes.
    """

    def __init__(self, study: Study, start: Checkpoint, run_dir: Path) -> None:
        self._study = study
        self._state = start
        self._first_round = start.round
        self._run_dir = run_dir
        self._settings = study.scenario.federation
        self._roster = {site.name: index for index, site in enumerate(study.sites)}
        self._nodes: dict[str, int] = {}
        self._asked_at = 0.0

    def summary(self) -> None:
        """Nothing to say: the command line shows the study."""

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """One instruction to every connected site, all sharing the same packed weights."""
        instruction = Instruction(self._study.study_id, self._study.plan.plan_id, self._first_round + server_round)
        nodes = self._wait_for_sites(grid, all_of_them=server_round == 1)
        self._asked_at = time.monotonic()
        sites = {node: site for site, node in self._nodes.items()}
        heads = {node: self._state.ledger_heads.get(sites.get(node, ""), "") for node in nodes}
        return [
            Message(
                replace(instruction, known_head=heads[node]).to_record(arrays),
                node,
                MessageType.TRAIN,
                group_id=str(instruction.round),
            )
            for node in nodes
        ]

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Averages the usable replies, writes checkpoint and event.

        Raises:
            PrivacyRefusal: no quorum, and sites refused for privacy.
            FederationError: no quorum for another reason.
        """
        number = self._first_round + server_round
        mean = WeightedMean(self._state.weights)
        accepted: list[Reply] = []
        refused: list[tuple[str, SiloganError]] = []
        for reply, weights in self._in_roster_order(self._usable(number, replies, refused)):
            mean.add(weights, self._weight(reply.site))
            accepted.append(reply)
        self._require_quorum(number, accepted, refused)
        self._advance(number, mean.value(), accepted, refused)
        return pack(self._state.weights), None

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """No evaluation at the sites: figures on real data do not leave them."""
        return []

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """See `configure_evaluate`."""
        return None

    def _wait_for_sites(self, grid: Grid, *, all_of_them: bool) -> list[int]:
        """Connected nodes: in the first round all, if they come in time; later a quorum is enough."""
        wanted = len(self._roster) if all_of_them else self._study.scenario.quorum
        deadline = time.monotonic() + self._settings.join_timeout
        while len(nodes := sorted(grid.get_node_ids())) < wanted and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        if len(nodes) < self._study.scenario.quorum:
            problem = f"{len(nodes)} of {len(self._roster)} sites connected, quorum is {self._study.scenario.quorum}"
            raise FederationError("quorum", problem, "start the missing sites or lower federation.quorum")
        return nodes

    def _usable(
        self, number: int, replies: Iterable[Message], refused: list[tuple[str, SiloganError]]
    ) -> Iterator[tuple[Reply, Weights]]:
        """Replies that may be averaged; the others, with the reason, end up in `refused`."""
        seen: set[str] = set()
        for message in replies:
            site = f"node {message.metadata.src_node_id}"
            try:
                if message.has_error():
                    raise FederationError("site", f"sent no reply (code {message.error.code})", "see the site's log")
                refusal = refusal_from_record(message.content)
                if refusal is not None:
                    site = refusal[0]
                    raise refusal[1]
                reply, record = Reply.from_record(message.content)
                self._check_header(reply, number, message.metadata.src_node_id, seen)
                site = reply.site
                weights = checked_weights(record, self._state.weights, self._settings.max_update_norm)
            except SiloganError as error:
                refused.append((site, error))
            except (TypeError, KeyError, ValueError):
                refused.append((site, FederationError("reply", "has a malformed header", "update the site's software")))
            else:
                seen.add(reply.site)
                yield reply, weights

    def _check_header(self, reply: Reply, number: int, node: int, seen: set[str]) -> None:
        mend = "the reply is left out of the average"
        if reply.site not in self._roster or self._nodes.setdefault(reply.site, node) != node:
            raise FederationError("reply", "comes from a node that is not this site", mend)
        if reply.site in seen:
            raise FederationError("reply", "is the site's second in one round", mend)
        if reply.round != number or reply.steps != self._study.plan.steps_per_round:
            raise FederationError("reply", "answers another round", mend)
        if not 0 <= reply.fake_accuracy <= 1 or reply.d_steps_per_g_step < 1:
            raise FederationError("reply", "has figures out of range", mend)

    def _in_roster_order(self, replies: Iterable[tuple[Reply, Weights]]) -> Iterator[tuple[Reply, Weights]]:
        """Replies in the order of the roster, so that rounding does not depend on who answers first.

        Engines that deliver in that order (the in-process grid) are passed through without holding anything back.
        """
        waiting: dict[int, tuple[Reply, Weights]] = {}
        due = 0
        for reply, weights in replies:
            waiting[self._roster[reply.site]] = (reply, weights)
            while due in waiting:
                yield waiting.pop(due)
                due += 1
        for index in sorted(waiting):
            yield waiting.pop(index)

    def _weight(self, site: str) -> float:
        if self._settings.weights == "uniform":
            return 1.0
        return float(self._study.sites[self._roster[site]].declared_size)

    def _require_quorum(self, number: int, accepted: list[Reply], refused: list[tuple[str, SiloganError]]) -> None:
        quorum = self._study.scenario.quorum
        if len(accepted) >= quorum:
            return
        private = [error for _, error in refused if isinstance(error, PrivacyRefusal)]
        if private and len(private) + len(accepted) >= quorum:
            raise PrivacyRefusal(
                f"round {number}", f"{len(private)} sites refused: {private[0]}", "the rounds before it stand"
            )
        why = f"; {refused[0][0]}: {refused[0][1]}" if refused else ""
        problem = f"{len(accepted)} usable replies of {len(self._roster)} sites, quorum is {quorum}{why}"
        raise FederationError(f"round {number}", problem, "mend the sites, then resume")

    def _advance(
        self, number: int, weights: Weights, accepted: list[Reply], refused: list[tuple[str, SiloganError]]
    ) -> None:
        before = self._state
        seconds = time.monotonic() - self._asked_at
        generator = {name: tensor for name, tensor in weights.items() if name.startswith("generator.")}
        ema = moving_average(before.ema, generator, self._settings.ema_decay) if before.round else generator
        spent = self._study.plan.epsilon_after(number * self._study.plan.steps_per_round)
        event = {
            "event": "round",
            "round": number,
            "rounds": self._study.scenario.training.rounds,
            "seconds": round(seconds, 3),
            "sites_replied": len(accepted),
            "sites_refused": [{"site": site, "why": str(error)} for site, error in refused],
            "epsilon": None if spent is None else {"min": spent, "max": spent},
            "d_steps_per_g_step": sum(reply.d_steps_per_g_step for reply in accepted) / len(accepted),
            "fake_accuracy": sum(reply.fake_accuracy for reply in accepted) / len(accepted),
            "update_norm": distance(weights, before.weights),
        }
        heads = {reply.site: reply.ledger_head for reply in accepted}
        self._state = replace(
            before,
            round=number,
            weights=weights,
            ema=ema,
            training_seconds=before.training_seconds + seconds,
            event=event,
            ledger_heads={**before.ledger_heads, **heads},
        )
        self._state.save(self._run_dir)
        append_event(self._run_dir, event)
        save_round_samples(self._study, self._state.ema, number, self._run_dir)
