"""/health, /metrics (Prometheus text) and /status on 127.0.0.1, for a supervisor, a scraper and `wardround status`.

Read-only and on the loopback interface; a hospital that wants it elsewhere puts its own reverse proxy before it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from wardround.errors import UsageError

TEXT = "text/plain; version=0.0.4; charset=utf-8"


class Snapshot(Collector):
    """Metrics from two functions: what is, and what was counted (never falls within one process)."""

    def __init__(self, prefix: str, gauges: Callable[[], Mapping[str, float]], counts: Callable[[], Any]) -> None:
        self._prefix, self._gauges, self._counts = prefix, gauges, counts

    def collect(self) -> Iterable[Metric]:
        for name, value in self._gauges().items():
            yield GaugeMetricFamily(f"{self._prefix}_{name}", name.replace("_", " "), value)
        for name, value in asdict(self._counts()).items():
            yield CounterMetricFamily(f"{self._prefix}_{name}", name.replace("_", " "), value)


class Health:
    """The endpoint. ``status`` is a JSON object; its key ``healthy`` decides between 200 and 503.

    Raises:
        UsageError: the port is taken.
    """

    def __init__(self, port: int, status: Callable[[], dict[str, Any]], metrics: Collector) -> None:
        registry = CollectorRegistry()
        registry.register(metrics)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer = _answer(self.path, status, registry)
                self.send_response(answer[0])
                self.send_header("Content-Type", answer[1])
                self.send_header("Content-Length", str(len(answer[2])))
                self.end_headers()
                self.wfile.write(answer[2])

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
                del format, args

        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        except OSError as error:
            raise UsageError(f"port {port} on 127.0.0.1 is taken: choose another http port, or 0 for none") from error
        self._server.daemon_threads = True
        Thread(target=self._server.serve_forever, args=(0.2,), name="health", daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _answer(path: str, status: Callable[[], dict[str, Any]], registry: CollectorRegistry) -> tuple[int, str, bytes]:
    if path == "/metrics":
        return 200, TEXT, generate_latest(registry)
    if path not in {"/health", "/status"}:
        return 404, TEXT, b"/health /metrics /status\n"
    found = status()
    code = 200 if found["healthy"] or path == "/status" else 503
    shown = found if path == "/status" else {"healthy": found["healthy"]}
    return code, "application/json", (json.dumps(shown, ensure_ascii=False) + "\n").encode()
