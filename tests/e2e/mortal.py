"""`wardround` with committee members that write down what they answer and die, by kill -9 of their own process, when told to.

    python mortal.py FOLDER join federation.toml --as NAME

FOLDER/answers: a line per answer (round, member, what was asked, what it answers). FOLDER/MEMBER.QUESTION: this member dies the next
time it is asked QUESTION, with its answer made and neither stored nor sent.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from wardround.secagg.decryptor import Decryptor
from wardround.secagg.messages import BeaconShare, decode_answer, decode_question

FOLDER = Path(sys.argv.pop(1))


def name(question: Any, answer: Any) -> str:
    """A certificate of the set with several cohorts is answered by a share of the beacon."""
    return "Beacon" if isinstance(answer, BeaconShare) else type(question).__name__


honest = Decryptor.receive_bytes


def receive(self: Decryptor, data: bytes) -> bytes:
    answered = honest(self, data)
    answer: Any = decode_answer(answered)
    asked = name(decode_question(data), answer)
    told = FOLDER / f"{answer.member}.{asked}"
    if told.exists():
        told.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    with (FOLDER / "answers").open("a") as file:
        file.write(f"{answer.round.hex()} {answer.member} {asked} {type(answer).__name__}\n")
    return answered


if __name__ == "__main__":
    Decryptor.receive_bytes = receive  # type: ignore[method-assign]
    from wardround.cli.main import main

    main()
