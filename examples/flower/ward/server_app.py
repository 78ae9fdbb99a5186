"""The coordinator."""

from pathlib import Path

from wardround.drivers.flower.apps import server_app

app = server_app(Path(__file__).parent / "experiment.toml")
