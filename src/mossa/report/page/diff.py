"""The page of a base and a tuned model: tasks before and after, layers, and what else moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from mossa.analysis.wording import number, signed
from mossa.report.colours import BASE, GREEN, GREY, VERMILLION, Style, model_styles
from mossa.report.page.chart import Chart, ChartView, Panel, line, over_layers, safe
from mossa.report.page.render import as_yaml, fill, without_paths
from mossa.report.page.rows import Cell, TaskRow, TaskTable, anchor, cell
from mossa.report.page.task_charts import dots, segments, task_axis

VERDICTS = {
    "lost": Style(VERMILLION, "v", "-"),
    "won": Style(GREEN, "^", "-"),
    "unchanged": Style(GREY, "o", "-"),
    "not decidable": Style(GREY, "X", "-"),
}
MEASURES = {"exact": "exact match", "loss": "loss, nats per target token"}
ALIKE = {"cka-linear-debiased": "debiased CKA", "cka-linear-calibrated": "calibrated: above 95 % of permuted prompts"}
PLACE = {
    "one-layer-change": "one-layer change: 1 - CKA of both blocks on one input",
    "relative-change": "the same, relative size",
    "answer-gain": "answer gain, nats",
    "answer-gain-increment": "what each layer adds to it, nats",
}
NORM = {"norm-ratio": "length of the states, tuned over base"}
DIMENSIONS = ("participation-ratio", "effective-rank")
MOST_LINES = 12  # tasks drawn one by one over training
OVER = "Median over tasks with its 95 % interval, from six tasks on. "


class Compared(NamedTuple):
    """What a page is made of: the tables of a `Diff`, and what it says."""

    final: pd.DataFrame
    tasks: pd.DataFrame
    layers: pd.DataFrame
    medians: pd.DataFrame
    forgotten: pd.DataFrame
    about: Mapping[str, Any]
    sentence: str


def render_diff(source: Compared) -> str:
    """Return the page."""
    models: list[str] = source.about["models"]
    parts: dict[str, Chart | None] = {
        "performance": _performance(source.final, source.sentence),
        "training": _training(source) if len(models) > 1 else None,
        "alike": _layers("alike", source, ALIKE, "Base and tuned model are least similar", smallest=True),
        "place": _layers("place", source, PLACE, "The update changes most"),
        "moved": _moved(source),
    }
    rows = [_row(place, row, source) for place, row in enumerate(source.final.to_dict("records"))]
    groups = [("verdict", 3), ("exact match", 3), ("loss, nats per target token", 3)]
    columns = ["verdict", "by", "q", *(name for _ in MEASURES for name in ("before", "after", "change"))]
    facts = [("Base", source.about["base"]), ("Tuned model", models[-1]), ("Tasks", str(len(source.final))),
             ("Examples", f"{source.about['examples']:,}")]  # fmt: skip
    drawn = [chart for chart in parts.values() if chart]
    return fill(
        "diff.html.j2",
        [*drawn, *(row.chart for row in rows)],
        name=f"{_short(source.about['base'])} and {_short(models[-1])}",
        facts=[(label, _short(text)) for label, text in facts],
        headline=source.sentence,
        points=[chart.title for chart in (parts["alike"], parts["place"]) if chart],
        parts=parts,
        forgotten=[(row["task"], _short(row["since"])) for row in source.forgotten.to_dict("records")],
        table=TaskTable(groups, columns, rows),
        made=as_yaml(without_paths(source.about)),
    )


def _performance(tasks: pd.DataFrame, title: str) -> Chart:
    """Draw every task before and after, by verdict."""
    views: list[ChartView] = []
    for measure, words in MEASURES.items():
        what = {"exact": "accuracy"}.get(measure, measure)  # what the page of a study calls a share of examples
        rows = tasks.rename(columns={f"{measure}_before": f"base_{what}", f"{measure}_after": f"tuned_{what}"})
        rows = rows.dropna(subset=[f"base_{what}"]).sort_values([f"{measure}_change", "task"], ignore_index=True)
        data = [segments(rows, what), dots(rows, f"base_{what}", "before", model_styles([])[BASE])]
        for verdict, style in VERDICTS.items():
            if len(part := rows[rows["verdict"].eq(verdict)]):
                data.append(dots(part, f"tuned_{what}", f"after: {verdict}", style))
        layout = {**task_axis(rows["task"]), "xaxis": {"title": {"text": words}, "zeroline": False}}
        views.append(ChartView(words, [Panel("", data, layout)]))
    how = (
        "One line per task, the same examples before and after. Verdicts come from paired tests; the expected "
        "share of false ones over tasks is at most 5 %."
    )
    if tasks["verdict"].eq("not decidable").any():
        how += " Not decidable: with so few examples, no outcome could have been significant."
    return Chart("performance", title, how, views)


def _training(source: Compared) -> Chart:
    """Draw the lost tasks one by one over the models in their order, and the median of all others."""
    models = source.about["models"]
    lost = list(source.forgotten["task"])[:MOST_LINES]
    places = {model: place for place, model in enumerate(models, 1)}
    styles = list(model_styles(map(str, range(MOST_LINES))).values())[1:]
    views: list[ChartView] = []
    for what, words in MEASURES.items():
        tables = {task: _over_models(source.tasks[source.tasks["task"].eq(task)], what, places) for task in lost}
        data = [trace for (task, rows), style in zip(tables.items(), styles, strict=False)
                for trace in line(rows, "value", task, style, x="model")]  # fmt: skip
        others = source.tasks[~source.tasks["task"].isin(source.forgotten["task"])]
        if len(others):
            rows = _over_models(others, what, places)
            data += line(rows, "value", "median of the tasks that were not lost", VERDICTS["unchanged"], x="model")
        names = ["base", *(safe(_short(model, 18)) for model in models)]
        axis = {"tickmode": "array", "tickvals": list(range(len(names))), "ticktext": names, "zeroline": False}
        layout = {"height": 360, "xaxis": axis, "yaxis": {"title": {"text": words}}}
        views.append(ChartView(words, [Panel("", data, layout)]))
    first = f"{lost[0]} was forgotten first" if lost else "No task was lost"
    more = len(source.forgotten) - len(lost)
    rest = f"; {more} more are not drawn" if more else ""
    how = f"Lost tasks one by one, in the order in which they were lost{rest}."
    return Chart("training", f"{first}, over {len(models)} models", how, views)


def _over_models(tasks: pd.DataFrame, what: str, places: Mapping[str, int]) -> pd.DataFrame:
    """Return `model` (0 for the base) and the median `value` over these tasks."""
    after = tasks.groupby("model")[f"{what}_after"].median()
    last = tasks[tasks["model"].eq(list(places)[-1])]
    rows = [(0, last[f"{what}_before"].median()), *((place, after.get(model)) for model, place in places.items())]
    return pd.DataFrame(rows, columns=["model", "value"])


def _layers(name: str, source: Compared, readings: Mapping[str, str], title: str, smallest: bool = False) -> Chart:
    """Draw readings per layer, one line per model; the title is about the first reading of the last model."""
    first, last = next(iter(readings)), source.about["models"][-1]
    own = source.medians[source.medians["model"].eq(last) & source.medians["reading"].eq(first)]
    reasons = own["reason"].dropna()
    own = own.dropna(subset=["value"])
    said = f"No layer has a value of {readings[first]}" + (f": {reasons.iloc[0]}" if len(reasons) else "")
    if len(own) and not smallest and own["value"].eq(0).all():
        said = "The update changes no layer"
    elif len(own):
        values = own["value"].to_numpy(float)
        row = own.iloc[int(values.argmin() if smallest else values.argmax())]
        said = f"{title} at layer {row['layer']} ({number(row['value'])})"
    return Chart(name, said, OVER + "Layers are numbered from 1.", _views(source.medians, readings, source))


def _moved(source: Compared) -> Chart:
    views = _views(source.medians, NORM, source)
    for kind in DIMENSIONS:
        both = [(f"{kind}, before", "before, "), (f"{kind}, after", "after, ")]
        views.append(ChartView(kind.replace("-", " "), [_panel(source.medians, both, source)]))
    return Chart("moved", "Length of the states, and how many dimensions they use", OVER, views)


def _views(rows: pd.DataFrame, readings: Mapping[str, str], source: Compared, height: int = 320) -> list[ChartView]:
    return [ChartView(label, [_panel(rows, [(name, "")], source, height)]) for name, label in readings.items()]


def _panel(rows: pd.DataFrame, readings: Sequence[tuple[str, str]], source: Compared, height: int = 320) -> Panel:
    """Draw one line per model and reading over layers."""
    models = source.about["models"]
    styles = model_styles(models)
    data: list[dict[str, Any]] = []
    for reading, said in readings:
        for model in models:
            part = rows[rows["reading"].eq(reading) & rows["model"].eq(model)].dropna(subset=["value"])
            style = styles[model]._replace(dash=":") if said.startswith("before") else styles[model]
            data += line(part.sort_values("layer"), "value", f"{said}{_short(model)}", style, unit="%{y:.3f}")
    return over_layers("", rows, data, "median", height)


def _row(place: int, row: Mapping[Any, Any], source: Compared) -> TaskRow:
    """Return what the table of tasks shows of one, and what opens under it."""
    task, cells = str(row["task"]), [Cell(str(row["verdict"]), None), Cell(_text(row["measure"]), None)]
    cells.append(cell(row["q_value"], "{:.2g}".format))
    for what in MEASURES:
        cells += [cell(row[f"{what}_before"]), cell(row[f"{what}_after"]), cell(row[f"{what}_change"], signed)]
    of = source.tasks[source.tasks["task"].eq(task)].to_dict("records")
    losses = [("base", _text(row["loss_before"]), _text(row["exact_before"]))]
    losses += [(_short(each["model"]), _text(each["loss_after"]), _text(each["exact_after"])) for each in of]
    about = [("examples", f"{row['n']}"), ("examples without a finite loss", f"{row['non_finite']}")]
    own = source.layers[source.layers["task"].eq(task)]
    views = _views(own, ALIKE | PLACE, source, 280)
    chart = Chart(f"row-{place}", f"Base and tuned model on {task}", "95 % intervals over examples.", views)
    return TaskRow(task, str(row["cluster"]), anchor(task), [str(row["verdict"])], cells, losses, about, [], chart)


def _text(value: Any) -> str:
    return "unknown" if pd.isna(value) else value if isinstance(value, str) else f"{value:.3f}"


def _short(name: str, longest: int = 40) -> str:
    """Return the last part of a path, because where files are kept is private, and only the end of a long name."""
    last = name.rstrip("/").rsplit("/", 1)[-1] if name.startswith(("/", ".", "~")) else name
    return last if len(last) <= longest else f"…{last[1 - longest :]}"
