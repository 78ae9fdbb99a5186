"""Flower's import path goes through typer and click, which warn of each other; wardround's own warnings stay errors."""

import contextlib
import os
import warnings

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")
with warnings.catch_warnings(), contextlib.suppress(ModuleNotFoundError):  # absent: each test file skips with a reason
    warnings.simplefilter("ignore", DeprecationWarning)
    import flwr.clientapp
    import flwr.serverapp.strategy  # noqa: F401
