"use strict";
// What every plot shares: the data, escaping, the theme, and drawing again when the theme changes.
const DATA = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const MODELS = Object.fromEntries(DATA.models.map((model) => [model.name, model]));
const CLUSTERS = Object.fromEntries(DATA.clusters.map((cluster) => [cluster.name, cluster]));
const COMPARED = DATA.models.map((model) => model.name).filter((name) => name !== DATA.ceiling);
const darkScheme = matchMedia("(prefers-color-scheme: dark)");
const drawings = [];

// Plotly reads a subset of HTML in every text it shows, so text from outside is escaped first.
const escapeText = (text) =>
  String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const onPaper = () => document.documentElement.dataset.theme === "light";
const isDark = () => darkScheme.matches && !onPaper();
const tone = (thing) => (thing ? (isDark() ? thing.dark : thing.colour) : css("--soft"));
const see = (colour, alpha) =>
  `rgba(${[1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16)).join(",")},${alpha})`;
const nice = (value, digits = 3) => (value === null || value === undefined ? "undefined" : value.toFixed(digits));
const diverging = () => [[0, "#0072B2"], [0.5, isDark() ? "#1d2126" : "#F7F7F7"], [1, "#D55E00"]];
const counted = (n, noun) => `${n} ${noun}${n === 1 ? "" : "s"}`;
const label = (model) => (model === DATA.ceiling ? "noise ceiling" : model);

function quantile(sorted, q) {
  const place = (sorted.length - 1) * q;
  const low = Math.floor(place);
  const high = Math.ceil(place);
  return sorted[low] + (sorted[high] - sorted[low]) * (place - low);
}
const median = (values) => (values.length ? quantile([...values].sort((a, b) => a - b), 0.5) : null);
const mean = (values) => (values.length ? values.reduce((a, b) => a + b, 0) / values.length : null);
const defined = (values) => values.filter((value) => value !== null && value !== undefined);

// Turn columns {a: [..], b: [..]} into rows [{a, b}, ..].
const rowsOf = (columns) => {
  const names = Object.keys(columns);
  return names.length ? columns[names[0]].map((_, i) => Object.fromEntries(names.map((n) => [n, columns[n][i]]))) : [];
};
const unique = (values) => [...new Set(values)];

function fill(select, options) {
  for (const [value, text] of options) select.append(new Option(text, value));
  if (options.length < 2) select.closest("label").hidden = true;
}

function layout(more) {
  const axis = { gridcolor: css("--grid"), zerolinecolor: css("--line"), linecolor: css("--line"), automargin: true };
  const { xaxis, yaxis, ...rest } = more;
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.documentElement).fontFamily, size: 12, color: css("--ink") },
    margin: { l: 56, r: 14, t: 16, b: 46 },
    hovermode: "closest",
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom", // a finger scrolls the page
    hoverlabel: { bgcolor: css("--panel"), bordercolor: css("--line"), font: { color: css("--ink") }, align: "left" },
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
    xaxis: { ...axis, ...xaxis },
    yaxis: { ...axis, ...yaxis },
    ...rest,
  };
}
const layerAxis = () => ({
  title: { text: "layer" },
  range: [DATA.layers[0] - 0.7, DATA.layers[DATA.layers.length - 1] + 0.7],
  dtick: DATA.layers.length > 16 ? 4 : 1,
  tick0: DATA.layers.length > 16 ? 4 : 1,
});

function plot(target, traces, more) {
  const config = { responsive: true, displayModeBar: false };
  const element = typeof target === "string" ? byId(target) : target;
  element.setAttribute("role", "img");
  element.setAttribute("aria-label", `Plot: ${element.closest("section").querySelector("h2").textContent}`);
  // Plotly keeps the width it has measured once; paper is narrower than the window.
  const width = onPaper() ? { width: element.clientWidth } : {};
  Plotly.react(element, traces, { ...layout(more), ...width }, config);
}
function nothing(target, why) {
  plot(target, [], {
    xaxis: { visible: false },
    yaxis: { visible: false },
    annotations: [{ text: escapeText(why), showarrow: false, xref: "paper", yref: "paper", x: 0.5, y: 0.5 }],
  });
}

// Register a drawing: it runs now, on every change of its controls, and when light turns dark or paper.
function drawing(draw, ...controls) {
  drawings.push(draw);
  for (const id of controls) byId(id).addEventListener("input", draw);
  draw();
}
const redraw = () => drawings.forEach((draw) => draw());
darkScheme.addEventListener("change", redraw);
addEventListener("beforeprint", () => {
  document.documentElement.dataset.theme = "light";
  redraw();
});
addEventListener("afterprint", () => {
  delete document.documentElement.dataset.theme;
  redraw();
  document.querySelectorAll(".js-plotly-plot").forEach((plotted) => Plotly.Plots.resize(plotted));
});

const links = [...document.querySelectorAll(".contents a")];
const watcher = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting)
        links.forEach((link) => link.classList.toggle("here", link.hash === `#${entry.target.id}`));
    }
  },
  { rootMargin: "-20% 0px -70% 0px" },
);
document.querySelectorAll("main > section").forEach((section) => watcher.observe(section));
