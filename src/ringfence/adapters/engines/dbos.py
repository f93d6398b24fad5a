"""The durable engine: DBOS Transact on SQLite, one worker process at a time.

Why each setting is as it is: docs/decisions/engine.md. DBOS keeps one instance a process, so this
adapter does too. Step results are JSON, never pickles: whoever can write the database must not be able
to run code in the worker. An error that ends a step is a step's result like any other, so that a
replay ends in the same way.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, TypeVar

import sqlalchemy
from dbos import DBOS, DBOSClient, DBOSConfig, DBOSPortableJSONSerializer, SetWorkflowID
from pydantic import TypeAdapter

from ringfence.adapters import place
from ringfence.domain import errors
from ringfence.domain.errors import RingfenceError, RunStopped
from ringfence.ports.engine import Carry

T = TypeVar("T")

#: Raised by hand when the order of steps changes in a way that a replay of older runs cannot follow.
APPLICATION_VERSION = "runs-1"
#: With SQLite there is one worker, so its id is fixed and a restart finds its own runs.
EXECUTOR = "worker"
QUEUE = "runs"
WORKFLOW = "run"
#: A run that has taken its worker down this often is given up (`finish` then records why).
MAX_RECOVERY_ATTEMPTS = 50
_DONE = ("SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")

_log = logging.getLogger(__name__)


class DbosEngine:
    """Implements ports/engine.py. `carry` is called for each run, in a thread of the engine."""

    def __init__(self, state: Path, carry: Carry, *, concurrency: int) -> None:
        self._state = state
        self._url = f"sqlite:///{state / 'engine.sqlite'}"
        self._concurrency = concurrency
        self._lock: TextIO | None = None
        self._database: sqlalchemy.Engine | None = None

        def run(run_id: str, ticket: str) -> str:
            return str(carry(run_id, ticket, DbosSteps()))

        self._body = run

    def start(self) -> Sequence[str]:
        """Take the place of the one worker and resume what was cut off; the ids of the resumed runs."""
        self._lock = place.take(self._state)
        self._database = open_database(self._state / "engine.sqlite")
        logging.getLogger("dbos").setLevel(logging.ERROR)
        # Before the launch: a queue that comes later is seen a second later, which is a first run's second.
        DBOS.migrate(self._url)
        with client(self._state) as remote:
            remote.register_queue(QUEUE, worker_concurrency=self._concurrency, polling_interval_sec=0.2)
        config: DBOSConfig = {
            "name": "ringfence",
            "system_database_url": self._url,
            "system_database_engine": self._database,
            "serializer": DBOSPortableJSONSerializer(),
            "application_version": APPLICATION_VERSION,
            "executor_id": EXECUTOR,
            "log_level": "ERROR",
            "enable_otlp": False,
            # Nobody is notified of anything, but the end of the engine waits for the end of this pause.
            "notification_listener_polling_interval_sec": 0.1,
        }
        DBOS(config=config)
        self._workflow = DBOS.workflow(name=WORKFLOW, max_recovery_attempts=MAX_RECOVERY_ATTEMPTS)(self._body)
        DBOS.launch()
        return self.unfinished()

    def submit(self, run: str, ticket: str) -> None:
        """Queue a run; the same id twice is one run."""
        with SetWorkflowID(run):
            DBOS.enqueue_workflow(QUEUE, self._workflow, run, ticket)

    def wait(self, run: str) -> None:
        """Return when the run has ended, whatever its outcome."""
        DBOS.retrieve_workflow(run).get_result(polling_interval_sec=0.1)

    def unfinished(self) -> Sequence[str]:
        """Runs that have been submitted and have not ended."""
        rows = DBOS.list_workflows(status=["PENDING", "ENQUEUED", "DELAYED"], load_input=False, load_output=False)
        return tuple(row.workflow_id for row in rows)

    def given_up(self) -> Sequence[str]:
        """Runs that the engine will not carry any further although they have not ended by themselves."""
        rows = DBOS.list_workflows(status=list(_DONE[1:]), load_input=False, load_output=False)
        return tuple(row.workflow_id for row in rows)

    def close(self) -> None:
        """Stop taking runs and let go of the place."""
        DBOS.destroy(workflow_completion_timeout_sec=0, destroy_registry=True)
        if self._database is not None:
            self._database.dispose()
        if self._lock is not None:
            self._lock.close()


class DbosSteps:
    """Implements `Steps` inside a DBOS workflow."""

    def __call__(self, name: str, returns: type[T], do: Callable[[], T]) -> T:
        """`do` is called unless its result is on record."""
        codec: TypeAdapter[T] = TypeAdapter(returns)

        def once() -> dict[str, Any]:
            try:
                return {"value": codec.dump_python(do(), mode="json")}
            except RingfenceError as error:
                return {"error": _packed(error)}
            except Exception as error:  # noqa: BLE001 - the step runner: a fault of ours stops the run with a name
                _log.exception("step %s", name)
                stop = RunStopped("internal_error", f"{type(error).__name__} in step {name}")
                return {"error": _packed(stop)}

        stored = DBOS.run_step({"name": name}, once)
        if "error" in stored:
            raise _unpacked(stored["error"])
        return codec.validate_python(stored["value"])


@contextmanager
def client(state: Path) -> Iterator[DBOSClient]:
    """A way to queue runs for the worker that holds the place, from another process."""
    database = open_database(state / "engine.sqlite")
    try:
        yield DBOSClient(
            system_database_engine=database,
            serializer=DBOSPortableJSONSerializer(),
            application_name="ringfence",
        )
    finally:
        database.dispose()


def submit_to_worker(state: Path, run: str, ticket: str) -> None:
    """Queue a run for the worker of another process."""
    with client(state) as remote:
        remote.enqueue(
            {
                "queue_name": QUEUE,
                "workflow_name": WORKFLOW,
                "workflow_id": run,
                "app_version": APPLICATION_VERSION,
            },
            run,
            ticket,
        )


def open_database(path: Path) -> sqlalchemy.Engine:
    """SQLite as a durable engine needs it: WAL, full sync, immediate transactions, patience."""
    database = sqlalchemy.create_engine(f"sqlite:///{path}", pool_size=20)

    @sqlalchemy.event.listens_for(database, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = "IMMEDIATE"
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    return database


def _packed(error: RingfenceError) -> dict[str, str]:
    packed = {"type": type(error).__name__, "what": error.what, "where": error.where, "mend": error.mend}
    return {**packed, "reason": error.reason} if isinstance(error, RunStopped) else packed


def _unpacked(packed: dict[str, str]) -> RingfenceError:
    if packed["type"] == "RunStopped":
        return RunStopped(packed["reason"], packed["what"], where=packed["where"], mend=packed["mend"])
    cls: type[RingfenceError] = getattr(errors, packed["type"], RingfenceError)
    return cls(packed["what"], where=packed["where"], mend=packed["mend"])
