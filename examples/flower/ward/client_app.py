"""A gateway."""

from pathlib import Path

from wardround.drivers.flower.apps import client_app

app = client_app(Path(__file__).parent / "experiment.toml")
