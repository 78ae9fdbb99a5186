"""Flower's import path goes through typer and click, which warn of each other; wardround's own warnings stay errors."""

import os
import warnings

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    try:
        import flwr.clientapp
        import flwr.serverapp.strategy  # noqa: F401
    except ModuleNotFoundError:  # each test file skips with a reason
        collect_ignore_glob: list[str] = []
