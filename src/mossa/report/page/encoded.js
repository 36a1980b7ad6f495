// What the base held of each task before tuning, with intervals.
if (byId("encoded-plot")) {
  const all = rowsOf(DATA.encoded.rows);
  const known = all.filter((row) => row.x !== null);
  const orders = { x: (a, b) => b.x - a.x, cluster: (a, b) => a.cluster.localeCompare(b.cluster) || b.x - a.x };
  drawing(() => {
    const rows = [...known].sort(orders[byId("encoded-sort").value]);
    byId("encoded-note").textContent = `${rows.length} of ${all.length} tasks have a defined value.`;
    if (!rows.length) return nothing("encoded-plot", "No task has a defined value.");
    const traces = DATA.clusters.map((cluster) => {
      const places = rows.map((_, i) => i).filter((i) => rows[i].cluster === cluster.name);
      const own = places.map((i) => rows[i]);
      const hover = (row) =>
        `<b>${escapeText(row.task)}</b><br>${escapeText(row.cluster)}<br>${nice(row.x)} (${nice(row.from)} to ${nice(row.to)})` +
        (row.rank === null ? "" : `<br>rank ${row.rank} (${row.rank_low} to ${row.rank_high})`);
      return {
        type: "scatter", mode: "markers", name: escapeText(cluster.name), x: own.map((row) => row.x), y: places,
        marker: { color: tone(cluster), symbol: cluster.symbol, size: 8 }, text: own.map(hover), hovertemplate: "%{text}<extra></extra>",
        error_x: { type: "data", symmetric: false, array: own.map((r) => (r.to === null ? 0 : r.to - r.x)),
          arrayminus: own.map((r) => (r.from === null ? 0 : r.x - r.from)), thickness: 1, width: 0, color: css("--soft") },
      };
    });
    const line = { type: "line", x0: 1, x1: 1, yref: "paper", y0: 0, y1: 1, line: { color: css("--soft"), dash: "dot", width: 1 } };
    plot("encoded-plot", traces, {
      height: 190 + 15 * rows.length, showlegend: true, shapes: DATA.encoded.measure === "share" ? [line] : [],
      xaxis: { title: { text: DATA.encoded.meaning } },
      yaxis: { range: [rows.length - 0.4, -0.6], showgrid: false, zeroline: false, tickmode: "array", tickvals: rows.map((_, i) => i),
        ticktext: rows.map((row) => escapeText(row.task.length > 34 ? `${row.task.slice(0, 33)}…` : row.task)), tickfont: { size: 10 } },
    });
  }, "encoded-sort");
}
