"""The pages of the documentation and their fenced blocks, told apart by the words after the language.

```bash run              executed, must end with status 0        ```bash fails=2   executed, must end with status 2
```toml run              parsed as an experiment                 ```python run     executed
```toml run file=NAME    ... and first written to NAME           ```text           read by people only
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
SMALL = [
    "data.windows_per_device=40",
    "rounds.count=2",
    "rounds.measure_every=1",
    "evaluation.centralised_epochs=1",
    "evaluation.local=false",
]
SMALL_LAB = [
    "data.wards=4",
    "data.sessions=1",
    "data.minutes=3",
    "data.trial=false",
    'split.leave_out=["surgery 1"]',
    *SMALL[1:],
]
"""The same path on less: what a page shows must work; its numbers are not checked here."""


@dataclass(frozen=True)
class Block:
    """One fenced block: ``line`` of its opening fence, words after the language as ``marks``."""

    line: int
    language: str
    marks: tuple[str, ...]
    text: str

    def value(self, name: str) -> str:
        """What stands behind ``name=``, or nothing."""
        return next((mark.partition("=")[2] for mark in self.marks if mark.startswith(f"{name}=")), "")

    @property
    def executed(self) -> bool:
        return "run" in self.marks or bool(self.value("fails"))


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found = []
    for match in re.finditer(r"^```(\w+)([^\n]*)\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE):
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(line, match[1], tuple(match[2].split()), match[3]))
    return found


def prose(text: str) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(text: str) -> set[str]:
    """What a link into the page can name, as GitHub makes it of headings, and ids written out."""
    heads = re.findall(r"^#+ (.*)$", prose(text), flags=re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
    return slugs | set(re.findall(r'id="([^"]+)"', text))
