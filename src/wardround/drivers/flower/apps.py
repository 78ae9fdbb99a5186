"""The two apps that a Flower App Bundle names; an app folder holds two lines of each kind and the experiment's TOML.

    server_app.py   app = server_app(Path(__file__).parent / "experiment.toml")
    client_app.py   app = client_app(Path(__file__).parent / "experiment.toml")

What this transport cannot do stands in docs/howto/flower.md.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from rich.console import Console

from wardround.drivers.flower.coordinator import Coordinator
from wardround.drivers.flower.exchange import Clock, Talk
from wardround.drivers.flower.frames import HELLO, KNOCK, TYPES
from wardround.drivers.flower.gateway import RUN_CONFIG, handle
from wardround.drivers.flower.keep import Keep
from wardround.drivers.flower.settings import RunSettings, fingerprint, load, read_experiment, read_settings, roster
from wardround.drivers.parties.identities import passphrase
from wardround.drivers.parties.machines import Course
from wardround.drivers.parties.securing import Securing
from wardround.drivers.sinks.progress import Progress
from wardround.drivers.world import build, plan, root_rows

WALL = Clock(time.time, time.monotonic, time.sleep)


def server_app(experiment: Path, clock: Clock = WALL) -> ServerApp:
    """The coordinator of ``experiment`` as a ServerApp.

    The app raises UsageError, ConfigError, DataError where file, configuration or data are wrong, RoundError where the
    federation cannot go on; Flower then says that the run failed.
    """
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        settings = read_settings(RunSettings, context.run_config, RUN_CONFIG)
        course = _course(experiment, settings)
        talk = Talk(grid, clock, settings.deadline_s, settings.poll_s)
        with Progress(console=Console(file=sys.stdout)) as show:
            keep = Keep(Path(settings.state).expanduser())
            Coordinator(course, settings, talk, keep, show, f"flower-{context.run_id}").finish()

    return app


def client_app(experiment: Path) -> ClientApp:
    """A gateway of ``experiment`` as a ClientApp."""
    app = ClientApp()

    def answer(message: Message, context: Context) -> Message:
        return handle(experiment, message, context)

    for kind in dict.fromkeys((HELLO, KNOCK, *TYPES.values())):
        if kind == "train":
            app.train()(answer)
        else:
            app.query(kind.partition(".")[2])(answer)
    return app


def _course(path: Path, settings: RunSettings) -> Course:
    experiment = read_experiment(path, settings)
    table = load(experiment, settings.data, "the run's configuration: data")
    names = roster(experiment, settings, table)
    agreed, keys = fingerprint(experiment, names), Path(settings.keys).expanduser()
    root = root_rows(experiment, build(experiment, table)) if experiment.root.size else None
    securing = Securing.of(experiment, agreed, names, keys, passphrase())
    return Course(experiment, plan(experiment, table), names, securing, root)
