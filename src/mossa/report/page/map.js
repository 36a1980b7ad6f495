// The layer map: medians over tasks, and sections whose boundaries the reader can move.
const mapModel = byId("map-model");
const tuned = COMPARED.filter((model) => model !== DATA.baseline);
fill(mapModel, (tuned.length ? tuned : COMPARED).map((model) => [model, model]));
const sharedEnd = byId("shared-end");
const transitionEnd = byId("transition-end");
const [firstLayer, lastLayer] = [DATA.layers[0], DATA.layers[DATA.layers.length - 1]];
for (const slider of [sharedEnd, transitionEnd]) {
  slider.min = firstLayer;
  slider.max = lastLayer;
  slider.disabled = DATA.layers.length < 2;
}

// Median over the tasks a model was not kept away from, per layer.
function medians(model) {
  const tasks = Object.values(DATA.curves[model] || {}).filter((curve) => !curve.held);
  return DATA.layers.map((_, i) => median(defined(tasks.map((curve) => curve.value[i]))));
}
const MEDIANS = Object.fromEntries(DATA.models.map((model) => [model.name, medians(model.name)]));

function asFound() {
  const spans = (DATA.sections[mapModel.value] || { spans: [] }).spans;
  const of = (name) => spans.find((span) => span[0] === name);
  sharedEnd.value = of("shared") ? of("shared")[2] : lastLayer;
  transitionEnd.value = of("transition") ? of("transition")[2] : sharedEnd.value;
}

function movedSpans() {
  const [a, b] = [Number(sharedEnd.value), Number(transitionEnd.value)];
  return [["shared", firstLayer, a], ["transition", a + 1, b], ["refinement", b + 1, lastLayer]].filter(
    (span) => span[1] <= span[2],
  );
}

function mapNote(spans) {
  const found = DATA.sections[mapModel.value];
  if (!found) return "No sections were sought: there is nothing to compare with the base.";
  const same = JSON.stringify(found.spans) === JSON.stringify(spans);
  if (!same && found.spans.length) return "Boundaries moved by hand; “As found” brings back those of the data.";
  const names = { shared_end: "shared ends", transition_end: "transition ends" };
  const intervals = Object.entries(found.intervals).map(([n, [a, b]]) => `${names[n]} within layers ${a}–${b}`);
  const parts = intervals.length ? [`Found in the data, with 95 % intervals over tasks: ${intervals.join(", ")}.`] : [];
  if (found.reason) parts.push(`${found.spans.length ? "Not three sections" : "No sections identifiable"}: ${found.reason}`);
  return parts.join(" ");
}

function drawMap() {
  const spans = movedSpans();
  byId("shared-value").textContent = sharedEnd.value;
  byId("transition-value").textContent = transitionEnd.value;
  byId("map-note").textContent = mapNote(spans);
  const traces = DATA.models.map((model) => ({
    x: DATA.layers,
    y: MEDIANS[model.name],
    name: escapeText(label(model.name)),
    mode: model.name === DATA.ceiling ? "lines" : "lines+markers",
    line: { color: tone(model), width: 2.5, dash: model.name === DATA.ceiling ? "dash" : "solid" },
    marker: { size: 5 },
    hovertemplate: "layer %{x}: median %{y:.3f}",
  }));
  const shades = spans.length > 1 ? spans : [];
  plot("map-plot", traces, {
    height: 420,
    xaxis: layerAxis(),
    yaxis: { title: { text: "similarity to the control" } },
    margin: { l: 56, r: 14, t: 48, b: 46 },
    legend: { orientation: "h", y: 1.07, yanchor: "bottom", x: 0 },
    shapes: shades.map(([name, a, b]) => ({
      type: "rect", xref: "x", yref: "paper", x0: a - 0.5, x1: b + 0.5, y0: 0, y1: 1, line: { width: 0 },
      fillcolor: css(`--${name}`), layer: "below",
    })),
    annotations: shades.map(([name, a, b]) => ({
      text: b - a + 1 < DATA.layers.length / 10 ? name.slice(0, 1) + "." : name, showarrow: false, xref: "x",
      yref: "paper", x: (a + b) / 2, y: 1, yanchor: "bottom", font: { size: 11, color: css("--soft") },
    })),
  });
  mapTable(spans);
}

function mapTable(spans) {
  const table = byId("map-table");
  table.querySelectorAll("thead, tbody").forEach((part) => part.remove());
  const head = table.createTHead().insertRow();
  const cells = ["model", ...spans.map(([name, a, b]) => `${spans.length > 1 ? name : "all layers"} (${a === b ? a : `${a}–${b}`})`)];
  cells.forEach((text, i) => {
    const cell = head.appendChild(document.createElement("th"));
    cell.textContent = text;
    if (i) cell.className = "number";
  });
  const body = table.createTBody();
  for (const model of DATA.models) {
    const row = body.insertRow();
    row.insertCell().textContent = label(model.name);
    for (const [, a, b] of spans) {
      const cell = row.insertCell();
      const inside = MEDIANS[model.name].filter((_, i) => DATA.layers[i] >= a && DATA.layers[i] <= b);
      cell.textContent = nice(mean(defined(inside)));
      cell.className = "number";
    }
  }
}

mapModel.addEventListener("input", asFound);
byId("map-reset").addEventListener("click", () => {
  asFound();
  drawMap();
});
// Shared cannot end after transition does: the other boundary gives way.
sharedEnd.addEventListener("input", () => {
  if (Number(transitionEnd.value) < Number(sharedEnd.value)) transitionEnd.value = sharedEnd.value;
});
transitionEnd.addEventListener("input", () => {
  if (Number(sharedEnd.value) > Number(transitionEnd.value)) sharedEnd.value = transitionEnd.value;
});
asFound();
drawing(drawMap, "map-model", "shared-end", "transition-end");
