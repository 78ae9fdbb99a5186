"""Command-line transcripts: plain text with the expected output and exit code.

$ wardround explain fedprox        a command (run by the shell, in an empty folder that holds `experiments/`)
algorithm.fedprox                  its output, stdout and stderr together
...                                any number of lines (also inside a line: any text)
[0]                                its exit code
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


def _blocks(text: str) -> list[tuple[str, str, int]]:
    found = []
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, rest = part.partition("\n")
        body, code = re.match(r"(.*?)^\[(\d+)\]$", rest, flags=re.DOTALL | re.MULTILINE).groups()  # type: ignore[union-attr]
        found.append((command, body, int(code)))
    return found


def _pattern(expected: str) -> re.Pattern[str]:
    pieces = [re.escape(piece) for piece in re.split(r"(?:^\.\.\.\n)|\.\.\.", expected, flags=re.MULTILINE)]
    return re.compile(".*?".join(pieces), flags=re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(HERE.glob("*.txt")), ids=lambda p: p.stem)
def test_transcript(path: Path, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WARDROUND")}
    environment |= {
        "COLUMNS": "100",
        "NO_COLOR": "1",
        "TERM": "dumb",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    for command, expected, code in _blocks(path.read_text()):
        done = subprocess.run(
            command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        output = done.stdout + done.stderr
        assert _pattern(expected).fullmatch(output), f"$ {command}\n{output}"
        assert done.returncode == code, f"$ {command}\n{output}"


def test_a_transcript_can_fail() -> None:
    assert _pattern("a\n...\nb\n").fullmatch("a\nx\ny\nb\n")
    assert not _pattern("a\n...\nb\n").fullmatch("a\nx\ny\nc\n")
    assert _blocks("$ x\nout\n[3]\n") == [("x", "out\n", 3)]
