"use strict";
// Draws the charts that Python made, gives each its buttons, sorts and filters the table, keeps the state in the address.
const DATA = JSON.parse(document.getElementById("data").textContent);
const all = (query, inside = document) => [...inside.querySelectorAll(query)];
const darkScheme = matchMedia("(prefers-color-scheme: dark)");
const onPaper = () => document.documentElement.dataset.theme === "light";
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};
const asText = (html) => new DOMParser().parseFromString(html.replace(/<br>/g, " "), "text/html").body.textContent;

// Charts carry colours for a light page; `--ink` and the like are those of the style sheet.
function themed(value) {
  if (Array.isArray(value)) return value.map(themed);
  if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, themed(v)]));
  if (typeof value !== "string") return value;
  if (value.startsWith("--")) return css(value);
  const dark = darkScheme.matches && !onPaper() && DATA.dark[value.slice(0, 7)];
  return dark ? dark + value.slice(7) : value;
}

function layout(own, width) {
  const axis = { gridcolor: css("--grid"), zerolinecolor: css("--edge"), linecolor: css("--edge"), automargin: true };
  const { xaxis, yaxis, ...rest } = own;
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false, width,
    font: { family: getComputedStyle(document.body).fontFamily, size: 12.5, color: css("--ink") },
    margin: { l: 48, r: 12, t: 8, b: 42 }, hovermode: "closest", dragmode: false,
    hoverlabel: { bgcolor: css("--panel"), bordercolor: css("--edge"), font: { color: css("--ink") }, align: "left" },
    xaxis: { ...axis, ...xaxis }, yaxis: { ...axis, ...yaxis }, ...rest,
  };
}

const shown = (figure) => DATA.charts[figure.dataset.chart].views[Number(figure.querySelector(".view")?.value || 0)];

function draw(figure) {
  if (!figure.offsetWidth) return; // folded: drawn when it opens
  const view = shown(figure);
  const panels = figure.querySelector(".panels");
  panels.style.setProperty("--panels", Math.min(view.panels.length, 2));
  while (panels.children.length > view.panels.length) panels.lastChild.remove();
  while (panels.children.length < view.panels.length)
    panels.append(make("div", {}, make("p", { className: "panel-title" }), make("div", { className: "plot" })));
  view.panels.forEach((panel, i) => {
    const [title, plot] = panels.children[i].children;
    title.textContent = panel.title;
    plot.setAttribute("role", "img");
    plot.setAttribute("aria-label", panel.alt);
    const size = layout(themed(panel.layout), plot.clientWidth);
    Plotly.react(plot, themed(panel.data), size, { displayModeBar: false });
  });
  figure.querySelector(".note").textContent = view.note;
  legend(figure, view);
}

// The legend is text of the page: it wraps, scales and is read aloud; a saved picture gets plotly's own.
function legend(figure, view) {
  const traces = new Map();
  for (const trace of view.panels.flatMap((panel) => panel.data))
    if (trace.name && trace.showlegend !== false && trace.type !== "heatmap") traces.set(trace.name, trace);
  const dashes = { dash: "7 4", dashdot: "8 3 2 3", dot: "2 3" };
  const symbols = { circle: "●", square: "■", "triangle-up": "▲", diamond: "◆", "triangle-down": "▼", cross: "✚", x: "✖", star: "★" };
  figure.querySelector(".legend").replaceChildren(...[...traces.values()].map((trace) => {
    const marker = trace.marker || {};
    const colour = themed(trace.line?.color || (Array.isArray(marker.color) ? marker.color[0] : marker.color));
    const symbol = Array.isArray(marker.symbol) ? "circle" : marker.symbol;
    const swatch = make("span", { className: "swatch" });
    swatch.setAttribute("aria-hidden", "true");
    swatch.innerHTML = `<svg width="34" height="14"><line x1="0" x2="34" y1="7" y2="7" stroke="${colour}" stroke-width="${trace.type === "box" ? 9 : 2.5}"
      stroke-dasharray="${dashes[trace.line?.dash] || ""}" ${trace.mode === "markers" ? 'visibility="hidden"' : ""}/>
      <text x="17" y="12" text-anchor="middle" font-size="13" fill="${colour}">${trace.type === "box" ? "" : symbols[symbol] || (symbol || "").startsWith("circle") ? symbols[symbol] || "○" : ""}</text></svg>`;
    return make("li", {}, swatch, asText(trace.name));
  }));
  figure.querySelector(".legend").hidden = traces.size < 2;
}

// The numbers of a view, one row per point: what the CSV button saves and the table button shows.
function numbers(figure) {
  const rows = [];
  const extra = new Set();
  for (const panel of shown(figure).panels) {
    for (const trace of panel.data.filter((each) => each.hoverinfo !== "skip")) {
      const head = { panel: panel.title, series: asText(trace.name || "") };
      const point = (x, y, more = {}) => rows.push({ ...head, x, y, ...more });
      if (trace.type === "heatmap") trace.z.forEach((line, i) => line.forEach((z, j) => point(trace.x[j], asText(String(trace.y[i])), { value: z })));
      else if (trace.type === "box") trace.y.forEach((values, i) => values.forEach((y, j) => point(trace.x[i], y, { task: asText(trace.text[i][j].split("<br>")[0]) })));
      else trace.x.forEach((x, i) => point(x, trace.y[i], Object.fromEntries((trace.meta || []).map((name, j) => [name, trace.customdata[i][j]]))));
    }
  }
  rows.forEach((row) => Object.keys(row).forEach((key) => extra.add(key)));
  return { columns: [...extra], rows };
}

function save(name, content, type) {
  const link = make("a", { download: name, href: content.startsWith("data:") ? content : URL.createObjectURL(new Blob([content], { type })) });
  link.click();
}
async function savePicture(figure, format) {
  const view = shown(figure);
  for (const [i, panel] of view.panels.entries()) {
    const own = layout(themed(panel.layout), 900);
    const title = { text: [DATA.charts[figure.dataset.chart].title, panel.title].filter(Boolean).join("<br>"), font: { size: 14 } };
    const whole = { ...own, title, showlegend: true, paper_bgcolor: css("--paper"), margin: { ...own.margin, t: 70 }, height: (own.height || 400) + 70 };
    const picture = await Plotly.toImage({ data: themed(panel.data), layout: whole }, { format, width: 900, height: whole.height, scale: format === "png" ? 3 : 1 });
    save(`${figure.dataset.chart}${view.panels.length > 1 ? `-${i + 1}` : ""}.${format}`, picture);
  }
}
function saveCsv(figure) {
  const { columns, rows } = numbers(figure);
  const quoted = (value) => (value === null || value === undefined ? "" : /[",\n]/.test(value) ? `"${String(value).replace(/"/g, '""')}"` : value);
  save(`${figure.dataset.chart}.csv`, [columns, ...rows.map((row) => columns.map((key) => row[key]))].map((line) => line.map(quoted).join(",")).join("\n"), "text/csv");
}
function showNumbers(figure, button) {
  const old = figure.querySelector(".numbers");
  button.setAttribute("aria-expanded", String(!old));
  if (old) return old.remove();
  const { columns, rows } = numbers(figure);
  const head = make("tr", {}, ...columns.map((name) => make("th", { scope: "col", textContent: name })));
  const body = rows.map((row) => make("tr", {}, ...columns.map((name) => make("td", { textContent: row[name] ?? "" }))));
  const table = make("table", {}, make("caption", { textContent: "The numbers of this chart" }), make("thead", {}, head), make("tbody", {}, ...body));
  const frame = make("div", { className: "wide numbers", tabIndex: 0 }, table);
  frame.setAttribute("role", "region");
  frame.setAttribute("aria-label", "The numbers of this chart");
  figure.append(frame);
}

for (const figure of all(".chart")) {
  const act = { png: () => savePicture(figure, "png"), svg: () => savePicture(figure, "svg"), csv: () => saveCsv(figure) };
  for (const button of all(".buttons button", figure))
    button.addEventListener("click", () => (act[button.dataset.as] || (() => showNumbers(figure, button)))());
  figure.querySelector(".view")?.addEventListener("input", () => {
    figure.querySelector(".numbers")?.remove();
    draw(figure);
    remember();
  });
}
const drawAll = () => all(".chart").forEach(draw);
for (const fold of all("details")) fold.addEventListener("toggle", () => all(".chart", fold).forEach(draw));

// The table of all tasks: a click on a column sorts, a row opens, the search filters.
const rows = all("#task-table > tbody > tr.row");
const search = document.getElementById("task-search");
let sorted = { column: 0, down: false };
function openRow(row, open) {
  row.querySelector("button").setAttribute("aria-expanded", String(open));
  row.nextElementSibling.hidden = !open;
  if (open) all(".chart", row.nextElementSibling).forEach(draw);
}
function sortRows(column, down) {
  sorted = { column, down };
  const key = (row) => row.cells[column].dataset.sort;
  const numeric = rows.some((row) => key(row) !== "" && !Number.isNaN(Number(key(row)))) && column > 1;
  const order = (a, b) => {
    if (key(a) === "" || key(b) === "") return (key(a) === "") - (key(b) === ""); // unknown last, both ways
    return (numeric ? Number(key(a)) - Number(key(b)) : key(a).localeCompare(key(b))) * (down ? -1 : 1);
  };
  for (const row of [...rows].sort(order)) row.parentNode.append(row, row.nextElementSibling);
  all("#task-table thead button").forEach((button) => {
    button.closest("th").setAttribute("aria-sort", Number(button.dataset.column) !== column ? "none" : down ? "descending" : "ascending");
  });
}
function filterRows() {
  const part = search.value.trim().toLowerCase();
  let found = 0;
  for (const row of rows) {
    row.hidden = !row.dataset.search.includes(part);
    if (row.hidden) openRow(row, false);
    found += row.hidden ? 0 : 1;
  }
  document.getElementById("task-note").textContent = `${found} of ${rows.length} tasks. Open one for its curves, losses, prompts and the models' answers.`;
}
for (const row of rows) {
  row.querySelector("button").addEventListener("click", (event) => {
    openRow(row, event.currentTarget.getAttribute("aria-expanded") !== "true");
    remember(row.id);
  });
}
for (const button of all("#task-table thead button"))
  button.addEventListener("click", () => {
    const column = Number(button.dataset.column);
    sortRows(column, column === sorted.column ? !sorted.down : column > 1);
    remember();
  });
search.addEventListener("input", () => (filterRows(), remember()));

// The address holds the place and every choice that differs from the default: #layers?layers=1&q=nli&sort=3.
const parts = () => { const [place, query] = location.hash.slice(1).split("?"); return [place, new URLSearchParams(query)]; };
function remember(place = parts()[0]) {
  const state = new URLSearchParams();
  for (const select of all(".view")) if (select.value !== "0") state.set(select.closest(".chart").dataset.chart, select.value);
  if (search.value) state.set("q", search.value);
  if (sorted.column || sorted.down) state.set("sort", `${sorted.column}${sorted.down ? "d" : ""}`);
  const query = state.toString();
  history.replaceState(null, "", `#${place}${query ? `?${query}` : ""}`);
}
function recall() {
  const [place, state] = parts();
  for (const select of all(".view")) {
    const value = state.get(select.closest(".chart").dataset.chart) || "0";
    if ([...select.options].some((option) => option.value === value)) select.value = value;
  }
  search.value = state.get("q") || "";
  const sort = /^(\d+)(d?)$/.exec(state.get("sort") || "0");
  if (sort && Number(sort[1]) < (rows[0]?.cells.length || 1)) sortRows(Number(sort[1]), Boolean(sort[2]));
  filterRows();
  const target = document.getElementById(decodeURIComponent(place));
  if (!target) return;
  for (let fold = target.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
  if (target.tagName === "DETAILS") target.open = true;
  if (target.matches("tr.row")) openRow(target, true);
  target.scrollIntoView();
}
recall();
drawAll();
addEventListener("hashchange", () => (recall(), drawAll()));
darkScheme.addEventListener("change", drawAll);
let waiting;
let width = innerWidth;
addEventListener("resize", () => {
  if (innerWidth === width || onPaper()) return; // a phone's address bar changes the height alone
  width = innerWidth;
  clearTimeout(waiting);
  waiting = setTimeout(drawAll, 150);
});
addEventListener("beforeprint", () => ((document.documentElement.dataset.theme = "light"), drawAll()));
addEventListener("afterprint", () => (delete document.documentElement.dataset.theme, drawAll()));
