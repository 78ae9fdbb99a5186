"""The results page and the README's table say what bench/results says."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_results_are_printed_from_the_committed_figures() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "bench" / "write_results.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_shipped_experiment_is_named_in_the_results() -> None:
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    missing = [path.stem for path in (ROOT / "experiments").glob("*.toml") if path.stem not in page]
    assert missing == []
