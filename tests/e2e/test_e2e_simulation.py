"""Real processes: ``wardround simulate`` killed again and again, stopped, out of disk; it always goes on or says why not."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.numpy import load_file

WARDROUND = str(Path(sys.executable).with_name("wardround"))
SMALL = """
name = "small"
seed = 7
[data]
use = "hospital"
wards = 4
devices_per_ward = 4
windows_per_device = 80
labels = "6class"
[split]
use = "stratified"
[partition]
use = "natural"
[scaling]
use = "quantile"
bins = 64
[model]
use = "mlp"
hidden = [16]
[algorithm]
use = "scaffold"
[server]
use = "adam"
[training]
epochs = 2
learning_rate = 0.05
[rounds]
count = 60
measure_every = 3
keep = "best"
[weather]
dropout = 0.2
[secagg]
use = "plain"
[evaluation]
centralised_epochs = 4
"""

pytestmark = pytest.mark.slow


def command(folder: Path, *words: str) -> subprocess.Popen[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WARDROUND")} | {"COLUMNS": "200"}
    return subprocess.Popen(
        [WARDROUND, *words], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finished(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    (folder / "small.toml").write_text(SMALL)
    return command(folder, "simulate", "small.toml", *words)


def only_run(folder: Path) -> Path:
    (run,) = (folder / "runs").iterdir()
    return run


def kill_in_the_middle(process: subprocess.Popen[str], run: Path | None, folder: Path, rng: random.Random) -> bool:
    """SIGKILL a moment after the run has made some progress; False where it was done before."""
    while run is None and process.poll() is None:
        found = [p for p in (folder / "runs").glob("*") if (p / "experiment.toml").exists()]
        run = found[0] if found else None
        time.sleep(0.002)
    assert run is not None
    log = run / "log.jsonl"
    before = log.stat().st_size if log.exists() else 0
    stamp = log.stat().st_mtime_ns if log.exists() else 0
    while process.poll() is None:  # the process is at work once the log has changed
        now = log.stat() if log.exists() else None
        if now is not None and now.st_mtime_ns != stamp and now.st_size != before:
            break
        time.sleep(0.002)
    time.sleep(rng.uniform(0.0, 0.4))
    if process.poll() is not None:
        return False
    process.kill()
    process.communicate()
    return True


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    code, output = finished(start(folder))
    assert code == 0, output
    return only_run(folder)


def assert_same_end(run: Path, undisturbed: Path) -> None:
    assert (run / "metrics.json").read_bytes() == (undisturbed / "metrics.json").read_bytes()
    ours, theirs = (load_file(path / "model" / "model.safetensors") for path in (run, undisturbed))
    assert {k: v.tobytes() for k, v in ours.items()} == {k: v.tobytes() for k, v in theirs.items()}
    for name in ("report.html", "timing.json", "model/model.onnx"):
        assert (run / name).stat().st_size > 0


def test_killed_again_and_again_it_ends_equal_to_the_bit(undisturbed: Path, tmp_path: Path) -> None:
    rng, kills, run = random.Random(20261123), 0, None
    process = start(tmp_path)
    for _ in range(5):
        kills += kill_in_the_middle(process, run, tmp_path, rng)
        run = only_run(tmp_path)
        process = command(tmp_path, "resume", "last")
    code, output = finished(process)
    assert code == 0, output
    assert kills >= 3
    assert_same_end(only_run(tmp_path), undisturbed)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_stop_with_one_line_and_resume_goes_on(
    undisturbed: Path, tmp_path: Path, number: signal.Signals
) -> None:
    process = start(tmp_path, "--quiet")
    while process.poll() is None and not list((tmp_path / "runs").glob("*/checkpoint.bin")):
        time.sleep(0.002)
    process.send_signal(number)
    code, output = finished(process)
    run = only_run(tmp_path)
    assert code == 130, output
    assert output.splitlines()[-1].startswith("stopped after round ")
    assert output.splitlines()[-1].endswith(f"; go on with: wardround resume runs/{run.name}")
    assert "Traceback" not in output
    code, output = finished(command(tmp_path, "resume", f"runs/{run.name}"))
    assert code == 0, output
    assert_same_end(run, undisturbed)


def test_a_full_disk_is_one_line_and_resume_goes_on(undisturbed: Path, tmp_path: Path) -> None:
    """A limit on file sizes stands for the full disk: the checkpoint of this federation is larger."""
    (tmp_path / "small.toml").write_text(SMALL)
    full = subprocess.run(
        [WARDROUND, "simulate", "small.toml", "--quiet"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000)),
    )
    assert full.returncode in (2, 3), full.stdout + full.stderr
    (line,) = full.stderr.splitlines()
    assert line.startswith("error [")
    assert "cannot be written: " in line
    run = only_run(tmp_path)
    code, output = finished(command(tmp_path, "resume", run.name))
    assert code == 0, output
    assert_same_end(run, undisturbed)


def test_a_runs_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, output = finished(start(tmp_path, "--quiet", "--runs", "file/runs"))
    assert code == 2
    assert output.splitlines()[-1].startswith("error [usage]: the folder for runs, file/runs, cannot be written: ")
    assert "Traceback" not in output
