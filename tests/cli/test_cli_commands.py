"""Each process loads its own command's room: the table is right, and a detector stays small."""

import subprocess
import sys

import pytest
from typer.main import get_command

from wardround.cli.commands import ROOMS, build


def commands(*words: str) -> list[str]:
    group = get_command(build(words))
    return sorted(group.commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_alone_has_the_commands_of_the_table(room: str) -> None:
    for word in ROOMS[room]:
        assert commands(word, "--help") == sorted(ROOMS[room])


def test_help_and_typing_errors_know_every_command() -> None:
    every = sorted(name for room in ROOMS.values() for name in room)
    assert commands() == commands("--help") == commands("wtach") == every


@pytest.mark.parametrize(
    ("word", "unneeded"),
    [("watch", "wardround.drivers.simulation"), ("join", "wardround.drivers.simulation"), ("init", "nats")],
)
def test_a_command_does_not_load_what_others_need(word: str, unneeded: str) -> None:
    script = f"import sys\nfrom wardround.cli.commands import build\nbuild(['{word}'])\nprint(any(m.startswith('{unneeded}') for m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
