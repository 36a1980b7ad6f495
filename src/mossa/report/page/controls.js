// Did the controls learn, how long were they trained, and who resembles whom.
const controlsShow = byId("controls-show");
const lossRows = rowsOf(DATA.controls).filter((row) => row.loss !== null && row.base_loss !== null);
const doseRows = rowsOf(DATA.dose).filter((row) => row.steps !== null && row.base_similarity !== null);

const controlTrace = (rows, cluster, x, y, hover) => ({
  type: "scatter", mode: "markers", name: escapeText(cluster.name), x: rows.map(x), y: rows.map(y),
  marker: { color: tone(cluster), size: 8, symbol: rows.map((row) => cluster.symbol + (row.learned === false ? "-open" : "")) },
  text: rows.map((row) => `<b>${escapeText(row.reference)}</b><br>${escapeText(row.cluster)}<br>${hover(row)}`),
  hovertemplate: "%{text}<extra></extra>",
});
const byCluster = (rows, ...how) =>
  DATA.clusters.map((cluster) => controlTrace(rows.filter((row) => row.cluster === cluster.name), cluster, ...how));

function lossTraces() {
  const most = Math.max(...lossRows.map((row) => Math.max(row.base_loss, row.loss)));
  const hover = (row) => `control ${nice(row.loss)}, base ${nice(row.base_loss)} nats per token`;
  return [
    { x: [0, most], y: [0, most], mode: "lines", name: "learned nothing", line: { color: css("--soft"), dash: "dot", width: 1 }, hoverinfo: "skip" },
    ...byCluster(lossRows, (row) => row.base_loss, (row) => row.loss, hover),
  ];
}
const doseTraces = () =>
  byCluster(doseRows, (row) => row.steps, (row) => row.base_similarity, (row) => `${row.steps} steps: ${nice(row.base_similarity)}`);

function drawControls() {
  const dose = controlsShow.value === "dose"; // hollow points did not learn
  const [rows, total] = dose ? [doseRows, DATA.dose.reference.length] : [lossRows, DATA.controls.reference.length];
  byId("controls-note").textContent = `${rows.length} of ${total} controls are drawn` +
    (rows.length < total ? "; the others have no measured value." : ".") + " Hollow: did not learn.";
  if (!rows.length) return nothing("controls-plot", "Nothing was measured.");
  if (dose)
    return plot("controls-plot", doseTraces(), {
      height: 460, xaxis: { type: "log", title: { text: "training steps of the control" } },
      yaxis: { title: { text: "similarity of the base, mean over layers" } },
    });
  plot("controls-plot", lossTraces(), {
    height: 520, xaxis: { title: { text: "test loss of the base, nats per target token" }, rangemode: "tozero" },
    yaxis: { title: { text: "test loss of the control" }, rangemode: "tozero" },
  });
}
drawing(drawControls, "controls-show");

// A matrix of similarities between named rows and named columns.
function matrix(target, rows, names, across, hover, more) {
  const found = new Map(rows.map((row) => [JSON.stringify([row.from, row.to]), row.value]));
  const cells = names.map((from) => across.map((to) => found.get(JSON.stringify([from, to])) ?? null));
  const text = names.map((from, i) => across.map((to, j) => `${hover(from, to)}<br>${nice(cells[i][j])}`));
  plot(target, [{
    type: "heatmap", z: cells, text, hovertemplate: "%{text}<extra></extra>", colorscale: "Cividis",
    x: across.map((_, i) => i), y: names.map((_, i) => i), colorbar: { thickness: 12, outlinewidth: 0 },
  }], { height: Math.min(900, 200 + 13 * names.length), plot_bgcolor: css("--undefined"), ...more });
}
const ticks = (names) => ({
  showgrid: false, tickmode: "array", tickvals: names.map((_, i) => i), ticktext: names.map(escapeText), tickfont: { size: 9 },
});

if (byId("affinity-plot")) {
  const { order: names, ...columns } = DATA.affinity;
  const rows = rowsOf(columns).map((row) => ({ from: row.task, to: row.other, value: row.value }));
  const hover = (from, to) => `${escapeText(from)}<br>${escapeText(to)}`;
  drawing(() => matrix("affinity-plot", rows, names, names, hover, {
    xaxis: { ...ticks(names), tickangle: 90 }, yaxis: { ...ticks(names), autorange: "reversed" },
  }));
}
if (byId("layers-plot")) {
  fill(byId("layers-pair"), DATA.layerMap.map((pair, i) => [i, `${pair.model} and ${pair.other} (${pair.tasks} tasks)`]));
  drawing(() => {
    const { model, other, layer, other_layer, value } = DATA.layerMap[Number(byId("layers-pair").value)];
    const rows = rowsOf({ from: layer, to: other_layer, value });
    const [names, across] = [unique(layer), unique(other_layer)].map((layers) => layers.sort((a, b) => a - b));
    const hover = (from, to) => `${escapeText(model)} layer ${from}<br>${escapeText(other)} layer ${to}`;
    matrix("layers-plot", rows, names, across, hover, {
      height: 480, xaxis: { ...ticks(across), title: { text: `layer of ${escapeText(other)}` } },
      yaxis: { ...ticks(names), title: { text: `layer of ${escapeText(model)}` } },
    });
  }, "layers-pair");
}
