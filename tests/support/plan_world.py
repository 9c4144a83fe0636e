"""A simulated cluster that carries plans out, and fails what a test says."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tunebench_api.contract import Progress, ResultState, StageKind, StageResult
from tunebench_api.v1alpha1 import BenchmarkRun, BenchmarkRunStatus
from tunebench_operator import reasons
from tunebench_operator.machines import Machines
from tunebench_operator.observed import Attempt, Observed
from tunebench_operator.plan import Child, Plan, plan

START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class World:
    """A cluster that does what a plan says, and fails what a test says."""

    run: BenchmarkRun
    now: datetime = START
    children: dict[str, Child] = field(default_factory=dict)
    attempts: dict[tuple[str, str], list[Attempt]] = field(default_factory=dict)
    stored: dict[str, StageResult] = field(default_factory=dict)
    status: BenchmarkRunStatus | None = None
    started: list[Child] = field(default_factory=list)
    machines: dict[str, Machines] = field(default_factory=dict)

    def step(self) -> Plan:
        """Observe, plan, apply and report once."""
        observed = Observed(
            {key: tuple(found) for key, found in self.attempts.items()},
            dict(self.stored),
            previous=self.status,
            machines=self.machines,
        )
        result = plan(self.run, observed, now=self.now)
        wanted = {child.name: child for child in result.desired}
        for name in [name for name in self.children if name not in wanted]:
            self.end(name, state=ResultState.SUCCEEDED, stored=False)
        for name, child in wanted.items():
            if name not in self.children:
                self._start(child)
        self.status = result.status
        return result

    def end(  # noqa: PLR0913 - one call, each argument a way to end
        self,
        name: str,
        *,
        state: ResultState = ResultState.SUCCEEDED,
        reason: str = "Succeeded",
        retryable: bool = False,
        stored: bool = True,
        message: str = "",
        progress: Progress | None = None,
        summary: dict[str, Any] | None = None,
    ) -> None:
        """Let a child end."""
        child = self.children.pop(name)
        result = StageResult(
            state=state,
            reason=reason,
            message=message or f"{child.key} ended",
            retryable=retryable,
            finished_at=self.now.isoformat(),
            summary=summary or {},
        )
        self.attempts[child.key, child.digest][-1] = Attempt(
            child.attempt, progress or Progress(), result
        )
        if state is ResultState.SUCCEEDED and stored and child.kind is not StageKind.SERVE:
            self.stored[child.output] = result

    def answer(self) -> None:
        """Let every server answer."""
        for child in self.children.values():
            if child.kind is StageKind.SERVE:
                progress = Progress(endpoint="http://127.0.0.1:1/v1")
                self.attempts[child.key, child.digest][-1] = Attempt(child.attempt, progress)

    def interrupt(self) -> None:
        """Kill the supervisor with everything that runs, and start it again."""
        for name in list(self.children):
            self.end(name, state=ResultState.FAILED, reason=reasons.INTERRUPTED, retryable=True)

    def workers(self) -> list[str]:
        """Return the children that end by themselves."""
        return [name for name, child in self.children.items() if child.kind is not StageKind.SERVE]

    def _start(self, child: Child) -> None:
        assert child.output not in self.stored or child.kind is StageKind.PREFLIGHT
        assert child.key not in {other.key for other in self.children.values()}
        if child.kind is StageKind.GENERATE:
            assert child.endpoint, "a generation needs a server that answers"
        self.children[child.name] = child
        self.started.append(child)
        self.attempts.setdefault((child.key, child.digest), []).append(Attempt(child.attempt))


def finish(world: World) -> Plan:
    """Let everything that runs succeed until the run is over."""
    for _ in range(200):
        result = world.step()
        if result.finished:
            return result
        world.answer()
        for name in world.workers():
            world.end(name)
        if result.wake_at and not world.workers():
            world.now = max(world.now, result.wake_at)
    msg = "the run must end"
    raise AssertionError(msg)


def reason_of(result: Plan) -> str:
    """Return the reason of the condition that sums up."""
    return next(each.reason for each in result.status.conditions if each.type == "Succeeded")


def models(*names: str, **fields: Any) -> list[dict[str, Any]]:
    """Return models, each on a base of its own."""
    return [{"name": name, "base": f"acme/{name}", **fields} for name in names]
