"""``report.html`` of a run: one page that needs nothing else, for people who decide whether to trust a detector.

The page holds its style and its figures; it runs no script and names no address, so it can be mailed, printed and
kept. Every text of the data is escaped (jinja2 autoescape; strict: a name the template does not know is an error).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wardround.drivers.sinks import facts, facts_alarms, facts_personal, hostility
from wardround.drivers.sinks.numerals import count, fixed
from wardround.drivers.sinks.runfiles import RunFiles, load

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Picture:
    """A figure of the page: SVG, what it shows for those who cannot see it, what to look at."""

    svg: Any
    alt: str
    caption: str


def write_report(run_folder: Path) -> Path:
    """Write ``report.html`` into a finished run's folder and return its path.

    Raises:
        DataError: the folder holds no finished run, or a file of it is damaged.
    """
    run = load(run_folder)
    seen = hostility.hostility(run)
    drawn = pictures(run) | trust_pictures(seen)
    about = {"hostility": hostility, "seen": seen, "personal": facts_personal, "alarms": facts_alarms}
    page = render("report.html.j2", run=run, facts=facts, count=count, fixed=fixed, pictures=drawn, **about)
    return write_page(run_folder / "report.html", page)


def figure_png(run_folder: Path, path: Path) -> Path:
    """Write one wide picture of a run (learning curve, confusion matrix, clients) for a README.

    Raises:
        DataError: the folder holds no finished run.
    """
    from wardround.drivers.sinks import figures_overview

    return figures_overview.figure_png(run_folder, path)


def pictures(run: RunFiles) -> dict[str, Picture]:
    """The figures for which the run has numbers."""
    # Drawing takes half a second to import and only a finished run draws: the first round must not wait for it.
    from wardround.drivers.sinks import figures_clients, figures_personal, figures_training, figures_trial

    found: dict[str, Picture] = {}
    add = partial(_add, found, run)
    if run.trial:
        add(
            "timeline",
            figures_trial.timeline,
            "Shaded: what really happened, each attack once, from slow to saturating. The dashed line is the threshold "
            "that the ward's own calm day gave. Incidents come from all detectors together, not from the model alone.",
        )
    if run.rows("curve"):
        add(
            "learning",
            figures_training.learning,
            "Validation rows belong to the clients: their measures reach the server as sums. "
            "Test rows stand outside the federation and steer nothing.",
        )
    if run.rows("rounds"):
        add("participation", figures_training.participation, "What became of the clients invited to each round.")
    if any(row.get("failed") is None for row in run.rows("rounds")):
        add("steps", figures_training.steps, "Both should settle; a step that grows again hints at divergence.")
        if run.rows("curve"):
            add(
                "traffic",
                figures_training.traffic,
                "Bytes of messages between clients and server; dashed: the same measures, had whole vectors been sent.",
            )
    if run.rows("clients") and run.classes:
        add("label_mix", figures_clients.label_mix, "The more the lines differ, the harder the federation's task.")
    if any(row.get("macro_f1") is not None for row in run.clients_of("federated")):
        add("quality", figures_clients.quality, "Macro-F1 on the client's own test rows, worst served first.")
    if facts_personal.has(run):
        add(
            "trade",
            figures_personal.trade,
            "To the right: better on its own traffic. Down: blinder to everybody else's.",
        )
    return found


def trust_pictures(seen: hostility.Hostility) -> dict[str, Picture]:
    """The figures of rows and trust; none where a run compared no rows."""
    from wardround.drivers.sinks import figures_trust

    found: dict[str, Picture] = {}
    if seen.rows:
        found["rows"] = draw(
            lambda: figures_trust.rows(seen),
            "rows",
            f"Rows of {len(seen.rows)} rounds in two principal components, by what each weighed.",
            "What the rule saw: one mark per row (a cohort's mean, or one client's update), large where it weighed much, "
            "hollow where it weighed nothing. Rows far from the others pull the model.",
        )
    if seen.trust:
        states = seen.trust[-1].states
        found["trust"] = draw(
            lambda: figures_trust.trust(seen),
            "trust",
            f"Trust in {len(states)} clients over {len(seen.trust)} rounds; {states.count('quarantined')} end in quarantine.",
            "One line per client, in the colour of its last standing. The server saw sums over cohorts only.",
        )
    return found


def render(template: str, **values: Any) -> str:
    """A page from a template of this package, with the house's style in it."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("wardround.drivers.sinks", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    sheet = Path(__file__).with_name("style.css").read_text(encoding="utf-8")
    style = Markup(sheet)  # noqa: S704 - our own file, nothing of the data in it
    return environment.get_template(template).render(style=style, **values)


def draw(figure: Callable[[], Figure], title: str, alt: str, caption: str) -> Picture:
    """Draw in the house's style."""
    from markupsafe import Markup

    from wardround.drivers.sinks import figures_style

    with figures_style.style():
        picture = figures_style.svg(figure(), title)
    return Picture(Markup(picture), alt, caption)  # noqa: S704 - matplotlib escapes the texts in its SVG


def write_page(path: Path, page: str) -> Path:
    """Replace ``path`` in one step, so that a crash leaves no half a page."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(page, encoding="utf-8")
    os.replace(temporary, path)  # noqa: PTH105 - Path.replace is the same; os names what must be atomic
    return path


def _add(
    found: dict[str, Picture], run: RunFiles, name: str, figure: Callable[[RunFiles], Figure], caption: str
) -> None:
    alt = _ALT[name](run)
    found[name] = draw(lambda: figure(run), name, alt, caption)


def _alt_learning(run: RunFiles) -> str:
    last = run.rows("curve")[-1]
    f1 = fixed((last.get("validation") or {}).get("macro_f1"))
    return f"Learning curves over {count(last.get('round'))} rounds; the last validation macro-F1 is {f1}."


def _alt_quality(run: RunFiles) -> str:
    f1 = sorted(row["macro_f1"] for row in run.clients_of("federated") if row.get("macro_f1") is not None)
    return (
        f"Macro-F1 of {len(f1)} clients, from {fixed(f1[0])} to {fixed(f1[-1])}; the table of clients has the numbers."
    )


def _alt_participation(run: RunFiles) -> str:
    failed = sum(1 for row in run.rows("rounds") if row.get("failed") is not None)
    return f"Invited clients by what became of them in {len(run.rows('rounds'))} rounds, {failed} of them failed."


def _alt_timeline(run: RunFiles) -> str:
    trial = run.trial
    return (
        f"Timeline of {fixed(trial.get('hours'), 1)} hours in an unseen ward: {trial.get('found')} of "
        f"{len(trial.get('attacks', ()))} attacks found, {trial.get('false_incidents')} incidents without an attack."
    )


_ALT: dict[str, Callable[[RunFiles], str]] = {
    "timeline": _alt_timeline,
    "learning": _alt_learning,
    "participation": _alt_participation,
    "steps": lambda _: "Mean training loss of the clients and length of the aggregated update, over the rounds.",
    "traffic": lambda _: (
        "Bytes up and down per round and so far, and validation macro-F1 against the bytes up and the bytes down so far."
    ),
    "label_mix": lambda run: (
        f"Share of {len(run.classes)} classes in the training rows of {len(run.rows('clients'))} clients."
    ),
    "quality": _alt_quality,
    "trade": lambda run: (
        f"Macro-F1 of {len(run.part('personal')['clients'])} clients on their own and on everybody's test rows, "
        "with the common model and with their own."
    ),
}
