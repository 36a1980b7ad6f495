// Box plots over tasks per layer and model (figures 2, 3 and 7), filtered by cluster and by held-out.
const heldModels = COMPARED.filter((model) => Object.values(DATA.curves[model]).some((curve) => curve.held));
const clusterChoices = [["", "all clusters"], ...DATA.clusters.map((cluster) => [cluster.name, cluster.name])];
fill(byId("boxes-tasks"), [
  ["seen", "each model was tuned on (figure 2)"],
  ...heldModels.map((model) => [`held ${model}`, `held out of ${model} (figure 7)`]),
]);
fill(byId("boxes-cluster"), clusterChoices);

function boxTasks(model, choice, cluster) {
  const heldBy = choice.startsWith("held ") ? choice.slice(5) : null;
  return DATA.tasks.filter(({ task, cluster: own }) => {
    const curve = DATA.curves[model][task];
    if (!curve || (cluster && own !== cluster)) return false;
    if (heldBy === null) return !curve.held;
    return (model === heldBy || model === DATA.baseline) && (DATA.curves[heldBy][task] || {}).held;
  });
}

function boxHover(task, curve, i) {
  const interval = curve.low[i] === null ? "no interval" : `95 % interval ${nice(curve.low[i])} to ${nice(curve.high[i])}`;
  return (
    `<b>${escapeText(task.task)}</b><br>${escapeText(task.cluster)}<br>${nice(curve.value[i])} at layer ` +
    `${DATA.layers[i]}<br>${interval}<br>n = ${curve.n[i] === null ? "unknown" : curve.n[i]} prompts`
  );
}

function boxTrace(model, tasks) {
  const columns = DATA.layers.map((_, i) =>
    tasks.filter(({ task }) => DATA.curves[model][task].value[i] !== null).map((task) => [task, DATA.curves[model][task.task], i]),
  );
  const sorted = columns.map((column) => column.map(([, curve, i]) => curve.value[i]).sort((a, b) => a - b));
  const box = (values) => {
    if (!values.length) return [null, null, null, null, null];
    const [q1, middle, q3] = [0.25, 0.5, 0.75].map((q) => quantile(values, q));
    const inside = values.filter((v) => v >= q1 - 1.5 * (q3 - q1) && v <= q3 + 1.5 * (q3 - q1));
    return [q1, middle, q3, inside[0], inside[inside.length - 1]];
  };
  const boxes = sorted.map(box);
  const colour = tone(MODELS[model]);
  return {
    type: "box",
    name: escapeText(`${model} (${counted(tasks.length, "task")})`),
    x: DATA.layers,
    q1: boxes.map((b) => b[0]), median: boxes.map((b) => b[1]), q3: boxes.map((b) => b[2]),
    lowerfence: boxes.map((b) => b[3]), upperfence: boxes.map((b) => b[4]),
    y: columns.map((column) => column.map(([, curve, i]) => curve.value[i])),
    text: columns.map((column) => column.map((point) => boxHover(...point))),
    hovertemplate: "%{text}<extra></extra>", hoveron: "points",
    boxpoints: "all", jitter: 0.6, pointpos: 0,
    marker: { color: see(colour, 0.55), size: 3 }, line: { color: colour, width: 1.2 }, fillcolor: see(colour, 0.22),
  };
}

function drawBoxes() {
  const [choice, cluster] = [byId("boxes-tasks").value, byId("boxes-cluster").value];
  const chosen = COMPARED.map((model) => [model, boxTasks(model, choice, cluster)]).filter(([, tasks]) => tasks.length);
  const missing = chosen.flatMap(([model, tasks]) =>
    tasks.flatMap(({ task }) => DATA.curves[model][task].value.map((v, i) => [v, DATA.curves[model][task].reason[i]])),
  ).filter(([value]) => value === null);
  const reasons = unique(missing.map(([, reason]) => reason || "not measured"));
  byId("boxes-note").textContent =
    chosen.map(([model, tasks]) => `${model}: n = ${counted(tasks.length, "task")}`).join(" · ") +
    (missing.length ? ` · ${missing.length} undefined values are not drawn (${reasons.join("; ")})` : "");
  if (!chosen.length) return nothing("boxes-plot", "No task matches.");
  plot("boxes-plot", chosen.map(([model, tasks]) => boxTrace(model, tasks)), {
    height: 460, boxmode: "group", boxgap: 0.15, boxgroupgap: 0.1,
    xaxis: { ...layerAxis(), dtick: 1, tick0: 1 }, yaxis: { title: { text: "similarity to the control" } },
  });
}
drawing(drawBoxes, "boxes-tasks", "boxes-cluster");
