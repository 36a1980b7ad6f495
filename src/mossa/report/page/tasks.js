// One drawer per task: a spark line on its handle, its curves with intervals and noise ceiling inside.
const drawers = [...document.querySelectorAll(".task")];

const lowest = Math.min(...COMPARED.flatMap((model) => Object.values(DATA.curves[model]).flatMap((c) => defined(c.value))));

function spark(svg, task) {
  const scale = (value) => 26 - (24 * (value - lowest)) / Math.max(1e-9, 1 - lowest);
  svg.replaceChildren();
  for (const model of COMPARED) {
    const curve = DATA.curves[model][task];
    if (!curve) continue;
    const points = curve.value.map((v, i) => (v === null ? null : `${(4 + (112 * i) / Math.max(1, DATA.layers.length - 1)).toFixed(1)},${scale(v).toFixed(1)}`));
    const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
    line.setAttribute("points", defined(points).join(" "));
    line.setAttribute("fill", "none");
    line.setAttribute("stroke", tone(MODELS[model]));
    line.setAttribute("stroke-width", "1.5");
    svg.append(line);
  }
}

function taskTraces(task) {
  return DATA.models.filter((model) => DATA.curves[model.name][task]).flatMap((model) => {
    const curve = DATA.curves[model.name][task];
    const colour = tone(model);
    const held = curve.held ? ", held out" : "";
    const line = {
      x: DATA.layers, y: curve.value, mode: "lines+markers", name: escapeText(label(model.name) + held), marker: { size: 4 },
      line: { color: colour, width: 2, dash: model.name === DATA.ceiling ? "dash" : "solid" },
      text: curve.value.map((v, i) => (curve.low[i] === null ? "no interval" : `${nice(curve.low[i])} to ${nice(curve.high[i])}`)),
      hovertemplate: "layer %{x}: %{y:.3f} (%{text})",
    };
    const known = DATA.layers.map((_, i) => i).filter((i) => curve.low[i] !== null && curve.high[i] !== null);
    const band = {
      x: [...known, ...[...known].reverse()].map((i) => DATA.layers[i]),
      y: [...known.map((i) => curve.high[i]), ...[...known].reverse().map((i) => curve.low[i])],
      fill: "toself", fillcolor: see(colour, 0.15), line: { width: 0 }, hoverinfo: "skip", showlegend: false, mode: "lines",
    };
    return [band, line];
  });
}

function drawDrawer(drawer) {
  const { task } = DATA.tasks[Number(drawer.dataset.task)];
  spark(drawer.querySelector(".spark"), task);
  if (!drawer.open) return;
  plot(drawer.querySelector(".plot"), taskTraces(task), {
    height: 290, xaxis: layerAxis(), yaxis: { title: { text: "similarity" } },
  });
}

for (const drawer of drawers) drawer.addEventListener("toggle", () => drawDrawer(drawer));
for (const chip of document.querySelectorAll(".chip"))
  chip.style.setProperty("--chip", (CLUSTERS[chip.dataset.cluster] || { colour: "#888" }).colour);

const taskFilter = byId("task-filter");
function filterTasks() {
  const part = taskFilter.value.trim().toLowerCase();
  let shown = 0;
  drawers.forEach((drawer, i) => {
    const { task, cluster } = DATA.tasks[i];
    drawer.hidden = !`${task} ${cluster}`.toLowerCase().includes(part);
    shown += drawer.hidden ? 0 : 1;
  });
  byId("task-note").textContent = `${shown} of ${drawers.length} tasks. Open one for its curves, losses and prompts.`;
}
taskFilter.addEventListener("input", filterTasks);
filterTasks();
drawing(() => drawers.forEach(drawDrawer));
