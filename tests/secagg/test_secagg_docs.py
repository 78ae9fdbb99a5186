"""The tables of docs/protocol/secagg.md are printed from the code: `python tests/secagg/test_secagg_docs.py` rewrites them."""

from __future__ import annotations

import re
from pathlib import Path

from wardround.secagg import messages
from wardround.secagg.explain import dithered_rows, markdown, preset_rows, suite_rows

DOCUMENT = Path(__file__).parents[2] / "docs" / "protocol" / "secagg.md"
TABLES = {"presets": preset_rows, "suites": suite_rows, "dithered": dithered_rows}


def refreshed(text: str) -> str:
    for name, rows in TABLES.items():
        pattern = re.compile(rf"(<!-- code: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        text, count = pattern.subn(lambda m, r=rows: m[1] + markdown(r()) + "\n" + m[2], text)  # type: ignore[misc]
        assert count == 1, name
    return text


def test_tables_are_fresh() -> None:
    assert DOCUMENT.read_text() == refreshed(DOCUMENT.read_text())


def test_every_message_of_a_round_is_named() -> None:
    text = DOCUMENT.read_text()
    inner = {
        "RosterEntry",
        "Roster",
        "EpochInvitation",
        "EpochContact",
        "Refusal",
        "ContactsChecked",
        "Descriptor",
        "SharePacket",
    }
    for name, kind in vars(messages).items():
        if hasattr(kind, "__wire_tag__") and kind.__module__ == messages.__name__ and name not in inner:
            assert name in text, name


def test_every_test_that_the_table_of_attacks_names_exists() -> None:
    root, here = Path(__file__).parents[2], Path(__file__).parent
    section = DOCUMENT.read_text().split("## Attacks, and the test of each")[1].split("\n## ")[0]
    file, seen = here, 0
    for name, test in re.findall(r"`([\w/]*(?:\.py)?)::(test_\w+)`", section):
        if name:
            file = root / name if "/" in name else here / name
        assert f"def {test}(" in file.read_text(), f"{file.name}::{test}"
        seen += 1
    assert seen >= 40


if __name__ == "__main__":
    DOCUMENT.write_text(refreshed(DOCUMENT.read_text()))
