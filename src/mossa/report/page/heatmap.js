// Task by layer, sortable and filterable: similarity of one model, or its change from the base.
fill(byId("heat-model"), [
  ...COMPARED.map((model) => [model, model]),
  ...(COMPARED.includes(DATA.baseline) ? tuned.map((model) => [`change ${model}`, `${model} minus ${DATA.baseline}`]) : []),
  ...(DATA.curves[DATA.ceiling] ? [[DATA.ceiling, "noise ceiling"]] : []),
]);
fill(byId("heat-cluster"), clusterChoices);

function heatValues(choice, task) {
  if (!choice.startsWith("change ")) return (DATA.curves[choice][task] || { value: null }).value;
  const [own, base] = [DATA.curves[choice.slice(7)][task], DATA.curves[DATA.baseline][task]];
  if (!own || !base) return null;
  return own.value.map((value, i) => (value === null || base.value[i] === null ? null : value - base.value[i]));
}

function heatRows() {
  const [choice, cluster] = [byId("heat-model").value, byId("heat-cluster").value];
  const part = byId("heat-filter").value.trim().toLowerCase();
  const rows = DATA.tasks
    .filter((t) => (!cluster || t.cluster === cluster) && t.task.toLowerCase().includes(part))
    .map((t) => ({ ...t, values: heatValues(choice, t.task) }))
    .filter((row) => row.values);
  const level = (row) => { const found = defined(row.values); return found.length ? mean(found) : -Infinity; };
  const order = {
    cluster: (a, b) => a.cluster.localeCompare(b.cluster) || a.task.localeCompare(b.task),
    name: (a, b) => a.task.localeCompare(b.task),
    value: (a, b) => level(b) - level(a),
  };
  return rows.sort(order[byId("heat-sort").value]);
}

// The reason of an undefined value, from whichever side of a difference lacks it.
function heatReason(choice, task, i) {
  const models = choice.startsWith("change ") ? [choice.slice(7), DATA.baseline] : [choice];
  return models.map((model) => DATA.curves[model][task].reason[i]).find(Boolean) || "not measured";
}

function drawHeat() {
  const choice = byId("heat-model").value;
  const rows = heatRows();
  byId("heat-note").textContent = `${rows.length} of ${DATA.tasks.length} tasks. Grey: undefined.`;
  if (!rows.length) return nothing("heat-plot", "No task matches the filter.");
  const isChange = choice.startsWith("change ");
  const text = rows.map((row) =>
    row.values.map((value, i) => {
      const shown = value === null ? `undefined: ${escapeText(heatReason(choice, row.task, i))}` : nice(value);
      return `<b>${escapeText(row.task)}</b><br>${escapeText(row.cluster)}<br>layer ${DATA.layers[i]}: ${shown}`;
    }),
  );
  plot("heat-plot", [{
    type: "heatmap", x: DATA.layers, y: rows.map((_, i) => i), z: rows.map((row) => row.values), text,
    hovertemplate: "%{text}<extra></extra>", hoverongaps: true,
    ...(isChange ? { colorscale: diverging(), zmin: -0.5, zmax: 0.5 } : { colorscale: "Cividis", zmax: 1 }),
    colorbar: { thickness: 12, outlinewidth: 0, title: { text: isChange ? "difference" : "similarity", side: "right" } },
    xgap: 1, ygap: 1,
  }], {
    height: 110 + Math.max(4, rows.length) * 15,
    plot_bgcolor: css("--undefined"),
    xaxis: { ...layerAxis(), range: [firstLayer - 0.5, lastLayer + 0.5], showgrid: false, side: "top", title: { text: "layer" } },
    yaxis: {
      autorange: "reversed", showgrid: false, tickmode: "array", tickvals: rows.map((_, i) => i), tickfont: { size: 10 },
      ticktext: rows.map((row) => {
        const name = row.task.length > 34 ? `${row.task.slice(0, 33)}…` : row.task;
        return `${escapeText(name)} <span style="color:${tone(CLUSTERS[row.cluster])}">■</span>`;
      }),
    },
    margin: { l: 60, r: 10, t: 56, b: 16 },
  });
}
drawing(drawHeat, "heat-model", "heat-sort", "heat-cluster", "heat-filter");
