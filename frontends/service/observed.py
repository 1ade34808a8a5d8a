"""What an operator sees: metrics for Prometheus, and a log of JSON lines that holds no secrets."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from scratchcard.clock import utc_now
from scratchcard.words import shortened

LOG = logging.getLogger("scratchcard.service")
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counters of one service.

    Examples:
        >>> metrics = Metrics()
        >>> metrics.requests.labels("GET", "/jobs", "200").inc()
        >>> 'scratchcard_requests_total{method="GET",route="/jobs",status="200"} 1.0' in metrics.text().decode()
        True
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self.requests = Counter("scratchcard_requests", "Requests", labels, registry=self.registry)
        self.seconds = Histogram("scratchcard_request_seconds", "Time to answer", ("route",), registry=self.registry)
        self.received = Counter("scratchcard_received_bytes", "Bytes of bodies", registry=self.registry)
        self.jobs = Gauge("scratchcard_jobs", "Jobs by state", ("state",), registry=self.registry)
        self.ended = Counter("scratchcard_jobs_ended", "Jobs that came to an end", ("state",), registry=self.registry)
        self.deaths = Counter("scratchcard_worker_deaths", "Workers that died at a job", registry=self.registry)

    def text(self) -> bytes:
        """As Prometheus reads it."""
        return generate_latest(self.registry)


class JsonLines(logging.Formatter):
    """A record as one line of JSON; only what was given as `facts`, the event's name and an error's kind.

    Examples:
        >>> record = logging.makeLogRecord({"msg": "request", "levelname": "INFO", "facts": {"status": 200}})
        >>> json.loads(JsonLines().format(record))["status"]
        200
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        told: dict[str, Any] = {"time": utc_now(), "level": record.levelname.lower(), "event": record.getMessage()}
        told |= getattr(record, "facts", {})
        if record.exc_info:
            told["error"] = shortened(self.formatException(record.exc_info), 3000)
        return json.dumps(told, default=str)


def log_to_stderr() -> None:
    """Send the service's log, and the server's warnings, to stderr.

    Examples:
        >>> before = list(LOG.handlers)
        >>> log_to_stderr()
        >>> isinstance(LOG.handlers[0].formatter, JsonLines)
        True
        >>> LOG.handlers[:] = before
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name, level in (("scratchcard.service", logging.INFO), ("uvicorn.error", logging.ERROR)):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(level)
        logger.propagate = False


def note(event: str, level: int = logging.INFO, **facts: Any) -> None:
    """Write one line of the log.

    Examples:
        >>> note("stopped", jobs=0)
    """
    LOG.log(level, event, extra={"facts": facts})
