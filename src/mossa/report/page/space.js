// What the representations look like as a whole: projection, separability, dimensions, correlates.
function drawSpace(layers) {
  const layer = layers[Number(byId("space-layer").value)];
  byId("space-value").textContent = layer;
  const panels = DATA.projection.filter((panel) => panel.layer === layer);
  const narrow = byId("space-plot").clientWidth < 700;
  const across = narrow ? 1 : panels.length;
  byId("space-note").textContent = panels
    .map((panel) => `${panel.model}: ${panel.x.length} of ${panel.prompts} prompts shown`).join(" · ");
  const traces = panels.flatMap((panel, place) => {
    const suffix = place ? String(place + 1) : "";
    return DATA.clusters.map((cluster) => {
      const rows = panel.cluster.map((name, i) => i).filter((i) => panel.cluster[i] === cluster.name);
      return {
        type: "scatter", mode: "markers", name: escapeText(cluster.name), legendgroup: cluster.name, showlegend: !place,
        x: rows.map((i) => panel.x[i]), y: rows.map((i) => panel.y[i]), xaxis: `x${suffix}`, yaxis: `y${suffix}`,
        text: rows.map((i) => `${escapeText(panel.task[i])}<br>${escapeText(cluster.name)}`),
        hovertemplate: "%{text}<extra></extra>", marker: { color: tone(cluster), symbol: cluster.symbol, size: 5, opacity: 0.75 },
      };
    });
  });
  const axes = {};
  panels.forEach((panel, place) => {
    const suffix = place ? String(place + 1) : "";
    const own = { showticklabels: false, zeroline: false, showgrid: false, showline: true, mirror: true };
    axes[`xaxis${suffix}`] = { ...own, linecolor: css("--line"), title: { text: `${escapeText(panel.model)}, layer ${layer}` } };
    axes[`yaxis${suffix}`] = { ...own, linecolor: css("--line"), scaleanchor: `x${suffix}` };
  });
  plot("space-plot", traces, {
    ...axes,
    height: narrow ? 340 * panels.length + 140 : 520,
    grid: { rows: Math.ceil(panels.length / across), columns: across, pattern: "independent" },
    legend: { orientation: "h", y: -0.12, yanchor: "top", x: 0 },
    margin: { l: 14, r: 14, t: 10, b: 40 },
  });
}
if (DATA.projection.length) {
  const layers = unique(DATA.projection.map((panel) => panel.layer));
  byId("space-layer").max = layers.length - 1;
  byId("space-layer").value = Math.floor((layers.length - 1) / 2);
  drawing(() => drawSpace(layers), "space-layer");
}

const modelTone = (name) => (MODELS[name] ? tone(MODELS[name]) : css("--soft"));
const DASHES = { cluster: "solid", task: "dash", template: "dot" };
if (byId("separability-plot")) {
  const rows = rowsOf(DATA.separability);
  drawing(() => {
    const groups = unique(rows.map((row) => JSON.stringify([row.model, row.label]))).map((key) => JSON.parse(key));
    plot("separability-plot", groups.map(([model, what]) => {
      const own = rows.filter((row) => row.model === model && row.label === what);
      return {
        x: own.map((row) => row.layer), y: own.map((row) => (row.accuracy === null ? null : row.accuracy - row.chance)),
        name: `${escapeText(model)}: ${escapeText(what)}`, mode: "lines", line: { color: modelTone(model), dash: DASHES[what] || "solid", width: 2 },
        hovertemplate: "layer %{x}: %{y:.2f} above chance",
      };
    }), { height: 380, xaxis: layerAxis(), yaxis: { title: { text: "accuracy above chance" }, rangemode: "tozero" } });
  });
}

if (byId("dimensions-plot")) {
  const rows = rowsOf(DATA.dimensionality);
  drawing(() => {
    plot("dimensions-plot", unique(rows.map((row) => row.model)).flatMap((model) => {
      const own = rows.filter((row) => row.model === model && row.dimensions_99 !== null);
      const known = own.filter((row) => row.low !== null);
      const colour = modelTone(model);
      const name = model === DATA.ceiling ? "controls" : model;
      return [
        { x: [...known, ...[...known].reverse()].map((r) => r.layer), y: [...known.map((r) => r.high), ...[...known].reverse().map((r) => r.low)],
          fill: "toself", fillcolor: colour[0] === "#" ? see(colour, 0.15) : colour, line: { width: 0 }, hoverinfo: "skip", showlegend: false, mode: "lines" },
        { x: own.map((r) => r.layer), y: own.map((r) => r.dimensions_99), mode: "lines+markers", marker: { size: 5 },
          name: escapeText(name), line: { color: colour, width: 2.5 }, text: own.map((r) => counted(r.tasks, "task")),
          hovertemplate: "layer %{x}: %{y:.0f} dimensions (%{text})" },
      ];
    }), { height: 380, xaxis: layerAxis(), yaxis: { title: { text: "dimensions" }, rangemode: "tozero" } });
  });
}

const CORRELATES = {
  flesch_kincaid: "Flesch-Kincaid grade", coleman_liau: "Coleman-Liau index", train: "training examples",
  steps: "control's steps", update_norm: "control's update norm", prompt_tokens: "prompt length",
  control_loss: "control's test loss", base_loss: "base's test loss",
};
if (byId("correlates-plot")) {
  const rows = rowsOf(DATA.correlates).filter((row) => row.experimental !== DATA.ceiling);
  fill(byId("correlates-method"), unique(rows.map((row) => row.method)).map((method) => [method, method]));
  drawing(() => {
    const own = rows.filter((row) => row.method === byId("correlates-method").value);
    const pairs = unique(own.map((row) => row.correlate)).flatMap((what) =>
      unique(own.filter((row) => row.correlate === what).map((row) => row.experimental)).map((model) => [what, model]));
    const table = pairs.map(([what, model]) => DATA.layers.map((layer) =>
      own.find((row) => row.correlate === what && row.experimental === model && row.layer === layer)));
    const sure = table.flatMap((line, y) => line.map((row, i) => [row, y, i]))
      .filter(([row]) => row && row.q_value !== null && row.q_value < 0.05);
    plot("correlates-plot", [
      { type: "heatmap", x: DATA.layers, y: pairs.map((_, i) => i), z: table.map((line) => line.map((row) => (row ? row.correlation : null))),
        text: table.map((line, y) => line.map((row) => (row && row.correlation !== null
          ? `${escapeText(pairs[y].join(" · "))}<br>layer ${row.layer}: ${nice(row.correlation, 2)} (${nice(row.low, 2)} to ${nice(row.high, 2)})<br>q = ${nice(row.q_value)}, ${row.tasks} tasks` : "undefined"))),
        hovertemplate: "%{text}<extra></extra>", colorscale: diverging(), zmin: -1, zmax: 1, xgap: 1, ygap: 1,
        colorbar: { thickness: 12, outlinewidth: 0, title: { text: "correlation", side: "right" } } },
      { type: "scatter", mode: "markers", x: sure.map(([, , i]) => DATA.layers[i]), y: sure.map(([, y]) => y),
        marker: { size: 4, color: css("--ink") }, hoverinfo: "skip", showlegend: false },
    ], {
      height: 90 + 20 * pairs.length, plot_bgcolor: css("--undefined"),
      xaxis: { ...layerAxis(), range: [firstLayer - 0.5, lastLayer + 0.5], showgrid: false },
      yaxis: { autorange: "reversed", showgrid: false, tickmode: "array", tickvals: pairs.map((_, i) => i),
        ticktext: pairs.map(([what, model]) => `${escapeText(CORRELATES[what] || what)} · ${escapeText(model)}`) },
    });
  }, "correlates-method");
}
