"""Typer 0.20 imports names that click 8.5 has deprecated; that is theirs, not ours, so it must not fail our tests."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import typer.testing  # noqa: F401 - imported here once, quietly, before any test imports it
