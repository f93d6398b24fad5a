"""The desk: one method a stage, each handing over exactly what that stage may use.

What a stage can reach is read here. The context and work stages get no code host, no broker and no
signer; nobody but checkout and publish gets a grant.
"""

from dataclasses import replace

from ringfence.domain import summary
from ringfence.domain.brief import Brief, Briefed
from ringfence.domain.checks import BASE_TESTS, Report
from ringfence.domain.commit import message
from ringfence.domain.errors import HostFailed, RingfenceError, RunStopped
from ringfence.domain.events import BriefAssembled, RepairRequested, RunEnded, RunHalted, TestsReplaced
from ringfence.domain.facts import gather
from ringfence.domain.globs import protects
from ringfence.domain.marks import run_mark
from ringfence.domain.patch import Patch
from ringfence.domain.rules import branch_of
from ringfence.domain.run import RunState
from ringfence.pipeline.ports import Ports
from ringfence.pipeline.rooms import Source
from ringfence.pipeline.stages import admission, checkout, cleanup, context, evidence, publish, repair, validation, work
from ringfence.pipeline.steps import Guard
from ringfence.pipeline.workshop import Workshop
from ringfence.ports.code_host import Proposal
from ringfence.ports.git import Leash
from ringfence.ports.objects import Authorship

_MOST_TESTS = 50


class Desk:
    """Hands one run's stages their ports."""

    def __init__(self, run: str, ports: Ports) -> None:
        self._run = run
        self._ports = ports
        self.guard = Guard(run, ports)
        self._shop = Workshop(run, ports, stop=self.guard.reason, paused=self.guard.paused)
        self._leash = Leash(run_mark(str(ports.places.state.absolute()), run), self.guard.leaving)

    def take_up(self) -> None:
        """Record that this worker carries the run now; what an earlier one left running or granted is ended first."""
        self.guard.stand_still()
        self._ports.sandboxes.reclaim(self._run)
        self._ports.broker.reclaim(self._run)
        admission.started(self._run, self._ports.worker, self._ports.version, self._ports.sandboxes, self._ports.log)

    def admit(self, ticket_id: str) -> admission.Case:
        """Admission reads a ticket and decides by the boundary."""
        ports = self._ports
        ticket = ports.tracker.ticket(ticket_id)
        case = admission.decide(self._run, ticket, ports.boundary, ports.boundary_digest, ports.log)
        kept = replace(ticket, title=ports.redact(ticket.title), body=ports.redact(ticket.body))
        # The branch too is named after the redacted title: the code host and the log would show it.
        return replace(case, ticket=kept, branch=branch_of(ports.boundary, kept))

    def check_out(self, case: admission.Case) -> checkout.Checkout:
        """Checkout gets read grants."""
        return checkout.prepare(self._run, case.ticket, case.branch, self._ports, self._leash)

    def assemble(
        self,
        case: admission.Case,
        taken: checkout.Checkout,
        report: Report | None = None,
        patch: Patch | None = None,
        attempt: int = 1,
    ) -> Briefed:
        """Context reads objects and writes the brief to the content store; it has no other port."""
        ports = self._ports
        brief = self.brief(case, taken, report, patch, attempt)
        digest = ports.artifacts.put(brief.text.encode())
        parts = tuple(f"{part.kind}:{part.provenance}:{part.trust.value}" for part in brief.parts)
        event = BriefAssembled(attempt, digest, brief.tokens, parts, brief.left_out)
        ports.log.append(self._run, event, once=f"brief.assembled/{attempt}/{digest}")
        return Briefed(digest, brief.tokens, len(parts), brief.left_out)

    def brief(
        self,
        case: admission.Case,
        taken: checkout.Checkout,
        report: Report | None = None,
        patch: Patch | None = None,
        attempt: int = 1,
    ) -> Brief:
        """The brief itself, from objects of the base commit."""
        ports = self._ports
        return context.assemble(
            context.ContextSources(
                ticket=case.ticket,
                boundary=ports.boundary,
                repository=taken.repository,
                commit=taken.base,
                repo=self._shop.intake,
                objects=ports.objects,
                context=tuple((name, commit, ports.git.mirror(name)) for name, commit in taken.context),
                attempt=attempt,
                failing=report.failing if report else (),
                previous_diff_stat=patch.line if patch else "",
            )
        )

    def validate_base(self, taken: checkout.Checkout) -> Report:
        """The same checks on the base commit, before anything is changed."""
        source = Source(self._ports.git.mirror(taken.repository), taken.base)
        return self._validated(taken, source, "base", 0)

    def work(
        self,
        case: admission.Case,
        taken: checkout.Checkout,
        brief: Briefed,
        earlier: Patch | None,
        attempt: int,
    ) -> Patch:
        """Work gets the sandbox, the gateway and the intake."""
        ports, rooms = self._ports, self._shop.rooms(taken)
        bench = work.Bench(
            ports.boundary, rooms, ports.agent, ports.gateway, ports.objects, ports.intake, ports.log, ports.artifacts,
            ports.find_secrets, ports.clock,
        )  # fmt: skip
        with self._shop.beside(taken, rooms) as beside:
            task = work.Assignment(
                run=self._run,
                attempt=attempt,
                repository=taken.repository,
                source=self._shop.source(taken, earlier.commit if earlier else taken.start),
                start=taken.start,
                brief=ports.artifacts.get(brief.digest).decode(),
                message=message(case.ticket, self._run, ports.boundary_digest),
                when=int(ports.clock.now()),
                context=beside,
                spent=self._shop.view().spent,
            )
            return work.attempt(task, bench, self._shop.intake)

    def validate(self, taken: checkout.Checkout, patch: Patch, attempt: int) -> Report:
        """Validation gets fresh sandboxes on the exact tree of the candidate commit."""
        report = self._validated(taken, self._shop.source(taken, patch.commit), "patch", attempt)
        if report.passed:
            self._try_base_tests(taken, patch, attempt)
        return report

    def judge(self, report: Report, attempt: int) -> repair.Verdict:
        """Repair decides; it touches nothing. What is handed back is recorded."""
        verdict = repair.after(report, attempt, self._ports.boundary.limits.run, self._shop.view().spent)
        if verdict.next == "repair":
            failing = tuple(result.name for result in report.failing)
            self._ports.log.append(self._run, RepairRequested(attempt, failing), once=f"repair.requested/{attempt}")
        return verdict

    def seal(self, patch: Patch) -> evidence.Sealed:
        """Evidence gets the log and the signer."""
        ports = self._ports
        commit = ports.objects.raw(self._shop.intake, "commit", patch.commit)
        return evidence.seal(self._run, commit, ports.log, ports.artifacts, ports.signer)

    def publish(
        self, case: admission.Case, taken: checkout.Checkout, patch: Patch, report: Report
    ) -> publish.Published:
        """Publish gets a write grant, now that validation has passed."""
        ports = self._ports
        draft = ports.boundary.approval.pull_request == "draft"
        title, body = self._text(case, taken, patch)
        proposal = Proposal(taken.branch, self._shop.repository(taken.repository).base, title, body, draft)
        what = publish.Publication(taken.repository, patch.commit, case.stage, proposal, report)
        return publish.publish(self._run, what, ports, self._leash)

    def stop(self, error: RingfenceError) -> cleanup.Stopped:
        """Record why the run ends early. Everything that was open for it, sandbox, doors and grants, is closed now."""
        ports, halt = self._ports, self.guard.halt()
        # Whoever halts kills by himself: what a stage saw first may be a program that died of it.
        seen = "" if isinstance(error, RunStopped) and error.reason in ("halted", "quarantined") else error.what
        if self.guard.leaving() == "quarantined":
            return cleanup.stopped(self._run, RunStopped("quarantined", "it was quarantined", where=seen), ports.log)
        if halt is None:
            return cleanup.stopped(self._run, error, ports.log)
        seconds = round(max(0.0, ports.clock.now() - halt.since), 3)
        ports.log.append(self._run, RunHalted(halt.what, halt.by, halt.reason, seconds), once="run.halted")
        return cleanup.stopped(self._run, RunStopped("halted", halt.line, where=seen), ports.log)

    def clean_up(self) -> cleanup.Swept:
        """Cleanup gets the grants, sandboxes and places of the run; a quarantined one waits for its release."""
        self._ports.broker.reclaim(self._run, last=True)
        self.guard.stand_still()
        return cleanup.sweep(self._run, self._ports.places, self._ports.sandboxes, self._ports.log)

    def close(self, outcome: str) -> cleanup.Closed:
        """End the log and write the bundle."""
        ports, path = self._ports, self._ports.places.bundle(self._run)
        seconds = round(ports.clock.now() - ports.log.records(self._run)[0].time, 3)
        ports.log.append(self._run, RunEnded(outcome, seconds), once="run.ended")
        evidence.bundle(
            self._run, ports.boundary_text, path, log=ports.log, artifacts=ports.artifacts, signer=ports.signer
        )
        return cleanup.Closed(outcome, str(path))

    @property
    def ended(self) -> bool:
        """Whether the run's log has its last record."""
        return self._shop.view().state is RunState.ENDED

    def _text(self, case: admission.Case, taken: checkout.Checkout, patch: Patch) -> tuple[str, str]:
        """Title and body of the pull request, from the log and from objects."""
        ports = self._ports
        changes = ports.objects.changes(self._shop.intake, taken.start, patch.commit)
        patterns = ports.boundary.commands.repositories[taken.repository].tests
        said = summary.Summary(
            facts=gather(self._run, self._shop.events()),
            ticket_title=case.ticket.title,
            changes=changes,
            tests=tuple(c.path for c in changes if any(protects(pattern, c.path) for pattern in patterns)),
            base=self._shop.repository(taken.repository).base,
            draft=ports.boundary.approval.pull_request == "draft",
        )
        title = summary.pull_request_title(case.ticket.id, case.ticket.title)
        return ports.redact(title), ports.redact(summary.pull_request_body(said))

    def _try_base_tests(self, taken: checkout.Checkout, patch: Patch, attempt: int) -> None:
        """When the patch touches tests, run them once more as the base commit has them; stated, and blocks nothing."""
        ports, intake = self._ports, self._shop.intake
        commands = ports.boundary.commands.repositories[taken.repository]
        changed = (change.path for change in ports.objects.changes(intake, taken.base, patch.commit))
        touched = [path for path in changed if any(protects(pattern, path) for pattern in commands.tests)]
        if not touched:
            return
        replaced, fault = "", ""
        try:
            replaced = ports.objects.graft(intake, patch.commit, taken.base, touched)
            by = Authorship("Ringfence", "ringfence@localhost", 0)
            commit = ports.objects.commit_tree(intake, replaced, patch.commit, "With the tests of the base\n", by)
            ports.objects.keep(intake, f"refs/ringfence/base-tests/{attempt}", commit)
            if not self._validated(taken, self._shop.source(taken, commit), BASE_TESTS, attempt).results:
                fault = "the boundary declares no check of kind test"
        except (RunStopped, HostFailed) as error:
            if self.guard.leaving() is not None:
                raise
            fault = ports.redact(" ".join(part for part in (error.what, error.where) if part))[:300]
        shown = tuple(path.encode("utf-8", "backslashreplace").decode() for path in touched[:_MOST_TESTS])
        event = TestsReplaced(attempt, patch.tree, replaced, shown, len(touched) - len(shown), fault)
        ports.log.append(self._run, event, once=f"tests.replaced/{attempt}/{patch.tree}")

    def _validated(self, taken: checkout.Checkout, source: Source, side: str, attempt: int) -> Report:
        ports = self._ports
        tree = ports.objects.tree_of(self._shop.intake, source.commit)
        rooms = self._shop.rooms(taken)
        return validation.validate(
            self._run, source, tree, rooms, ports.log, ports.artifacts, side=side, attempt=attempt
        )
