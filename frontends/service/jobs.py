"""Jobs: the queue, in SQLite; every change is one transaction, so that no job is lost or taken twice."""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from scratchcard.artefacts.digest import json_digest
from scratchcard.frontends.service.limits import Limits, retry_after
from scratchcard.frontends.service.problems import Problem

State = Literal["queued", "running", "done", "failed", "cancelled"]
ENDED = ("done", "failed", "cancelled")
_TABLE = """
CREATE TABLE IF NOT EXISTS jobs (
  number INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, owner TEXT NOT NULL, state TEXT NOT NULL, request TEXT NOT NULL,
  created REAL NOT NULL, started REAL, ended REAL, attempts INTEGER NOT NULL DEFAULT 0,
  deaths INTEGER NOT NULL DEFAULT 0, error TEXT, key TEXT, request_digest TEXT NOT NULL, UNIQUE (owner, key)
);
CREATE INDEX IF NOT EXISTS by_state ON jobs (state, owner);
"""


@dataclass(frozen=True)
class Job:
    """One job as it stands.

    Attributes:
        id, owner, state: which, whose, and how far.
        request: the body of `POST /jobs`.
        created, started, ended: seconds since 1970.
        attempts: how often it was begun; deaths: how often its worker died.
        error: why it failed, in a sentence.

    Examples:
        >>> Queue(Path("job.sqlite")).add("ann", {"density": 0.1}, Limits())[0].state
        'queued'
    """

    id: str
    owner: str
    state: State
    request: dict[str, Any]
    created: float
    started: float | None
    ended: float | None
    attempts: int
    deaths: int
    error: str | None


class Queue:
    """The jobs in a file.

    Examples:
        >>> queue = Queue(Path("queue.sqlite"))
        >>> job, is_new = queue.add("ann", {"density": 0.1}, Limits())
        >>> queue.take().id == job.id, queue.take()
        (True, None)
        >>> queue.end(job.id, "done")
        True
        >>> queue.find("ann", job.id).state, queue.find("bob", job.id)
        ('done', None)
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._base = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
        self._base.row_factory = sqlite3.Row
        self._base.execute("PRAGMA journal_mode=WAL")
        self._base.execute("PRAGMA synchronous=FULL")
        self._base.executescript(_TABLE)

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield self._base
                self._base.execute("COMMIT")
            except BaseException:
                if self._base.in_transaction:
                    self._base.execute("ROLLBACK")
                raise

    def _rows(self, text: str, *values: Any) -> list[sqlite3.Row]:
        with self._lock:
            return self._base.execute(text, values).fetchall()

    def add(
        self, owner: str, request: dict[str, Any], limits: Limits, key: str | None = None, new: str | None = None
    ) -> tuple[Job, bool]:
        """Add a job at the end; returns it, and whether it is new: with a key that was used it is the earlier one.

        Args:
            owner: whose.
            request: plain JSON.
            limits: of jobs that wait.
            key: the idempotency key.
            new: the id of the new job.

        Raises:
            Problem: the queue is full, or the key belongs to another request.
        """
        digest = json_digest(request)
        with self._changing() as base:
            row = base.execute("SELECT * FROM jobs WHERE owner = ? AND key = ?", (owner, key)).fetchone()
            if key is not None and row is not None:
                if row["request_digest"] != digest:
                    raise Problem(422, "this Idempotency-Key was used for another request; take a new one")
                return _job(row), False
            count = "SELECT count(*) FROM jobs WHERE state = 'queued'"
            if base.execute(count).fetchone()[0] >= limits.waiting_jobs:
                raise Problem(503, f"{limits.waiting_jobs:,} jobs wait already; try again later", retry_after(10))
            own = "SELECT count(*) FROM jobs WHERE state IN ('queued', 'running') AND owner = ?"
            if base.execute(own, (owner,)).fetchone()[0] >= limits.own_jobs:
                most = f"{limits.own_jobs:,} jobs of this token are unfinished"
                raise Problem(429, f"{most}; wait, or cancel some", retry_after(10))
            row = base.execute(
                "INSERT INTO jobs (id, owner, state, request, created, key, request_digest) "
                "VALUES (?, ?, 'queued', ?, ?, ?, ?) RETURNING *",
                (new or new_id(), owner, json.dumps(request), time.time(), key, digest),
            ).fetchone()
            return _job(row), True

    def with_key(self, owner: str, key: str) -> Job | None:
        """The job that was asked for with an idempotency key."""
        rows = self._rows("SELECT * FROM jobs WHERE owner = ? AND key = ?", owner, key)
        return _job(rows[0]) if rows else None

    def take(self) -> Job | None:
        """Begin the job whose turn it is: of the owner with the fewest at work the one that waits longest."""
        with self._changing() as base:
            row = base.execute(
                "UPDATE jobs SET state = 'running', attempts = attempts + 1, started = ? WHERE number = ("
                " SELECT number FROM jobs AS j WHERE state = 'queued' ORDER BY"
                " (SELECT count(*) FROM jobs AS r WHERE r.owner = j.owner AND r.state = 'running'), number LIMIT 1)"
                " RETURNING *",
                (time.time(),),
            ).fetchone()
        return None if row is None else _job(row)

    def end(self, job: str, state: State, error: str | None = None) -> bool:
        """Note how a job that waits or is at work ended; whether it was not ended before."""
        with self._changing() as base:
            done = base.execute(
                "UPDATE jobs SET state = ?, ended = ?, error = ? WHERE id = ? AND state IN ('queued', 'running')",
                (state, time.time(), error, job),
            )
            return done.rowcount == 1

    def again(self, job: str, *, died: bool) -> int:
        """Let a job that was at work wait again; returns how often its worker has died."""
        with self._changing() as base:
            row = base.execute(
                "UPDATE jobs SET state = 'queued', started = NULL, deaths = deaths + ? "
                "WHERE id = ? AND state = 'running' RETURNING deaths",
                (int(died), job),
            ).fetchone()
        return 0 if row is None else int(row["deaths"])

    def find(self, owner: str, job: str) -> Job | None:
        """A job of an owner."""
        rows = self._rows("SELECT * FROM jobs WHERE owner = ? AND id = ?", owner, job)
        return _job(rows[0]) if rows else None

    def state(self, job: str) -> str | None:
        """The state of a job, whoever's it is."""
        rows = self._rows("SELECT state FROM jobs WHERE id = ?", job)
        return rows[0]["state"] if rows else None

    def listed(self, owner: str, state: str | None = None, most: int = 100, before: str | None = None) -> list[Job]:
        """Jobs of an owner, the newest first; those before another one."""
        text = (
            "SELECT * FROM jobs WHERE owner = :owner AND (:state IS NULL OR state = :state) AND (:before IS NULL OR "
            "number < (SELECT number FROM jobs WHERE owner = :owner AND id = :before)) ORDER BY number DESC LIMIT :most"
        )
        with self._lock:
            values = {"owner": owner, "state": state, "before": before, "most": most}
            return [_job(row) for row in self._base.execute(text, values).fetchall()]

    def running(self) -> list[Job]:
        """Jobs that are at work, whoever's they are."""
        return [_job(row) for row in self._rows("SELECT * FROM jobs WHERE state = 'running'")]

    def counts(self) -> dict[str, int]:
        """How many jobs there are in each state."""
        found = {row[0]: row[1] for row in self._rows("SELECT state, count(*) FROM jobs GROUP BY state")}
        return {state: found.get(state, 0) for state in ("queued", "running", *ENDED)}

    def place(self, job: Job) -> int:
        """How many jobs wait before one."""
        text = "SELECT count(*) FROM jobs WHERE state = 'queued' AND number < (SELECT number FROM jobs WHERE id = ?)"
        return int(self._rows(text, job.id)[0][0])

    def forget(self, job: str) -> None:
        """Remove a job that ended."""
        with self._changing() as base:
            base.execute("DELETE FROM jobs WHERE id = ? AND state IN ('done', 'failed', 'cancelled')", (job,))

    def old(self, seconds: float) -> list[Job]:
        """Jobs that ended so long ago."""
        return [_job(row) for row in self._rows("SELECT * FROM jobs WHERE ended < ?", time.time() - seconds)]

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._base.close()


def new_id() -> str:
    """An id that nobody guesses.

    Examples:
        >>> len(new_id())
        24
    """
    return secrets.token_hex(12)


def _job(row: sqlite3.Row) -> Job:
    named = {name: row[name] for name in ("id", "owner", "state", "created", "started", "ended", "attempts", "deaths")}
    return Job(**named, request=json.loads(row["request"]), error=row["error"])
