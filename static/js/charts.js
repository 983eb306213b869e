// Charts read their numbers from the table that stands below them ("Show as table") and are drawn again whenever it changes:
// th[data-state] gives hue, pattern and weight, th[data-below] hangs, th[data-fill] is "soft", "rising" or "dots",
// td[data-value] is the number, tr[data-open] a bucket that is not yet over. Reads [data-chart] and html[data-zone].
import { bars, fillOf, limitLines, points, scale, tokens } from "./chart_paint.js";
import { instants, isolated, labels, linearRange, linearTicks, logRange, logTicks } from "./chart_scales.js";

const FONT = "11px Inter, system-ui, sans-serif";
const plots = new Map();
const sizes = new ResizeObserver((entries) => entries.forEach(({ target }) => resize(target)));

const tableOf = (host) => host.closest("figure").querySelector("table");
const zone = () => document.documentElement.dataset.zone || undefined;

function read(table) {
  const heads = [...table.tHead.rows[0].cells].slice(1).map((cell) => ({ label: cell.textContent, ...cell.dataset }));
  const rows = [...table.tBodies[0].rows];
  const value = ({ dataset }) => (dataset.value === undefined || dataset.value === "" ? null : Number(dataset.value));
  return {
    heads,
    times: rows.map((row) => Date.parse(row.cells[0].querySelector("time").dateTime) / 1000),
    columns: heads.map((_, i) => rows.map((row) => value(row.cells[i + 1]))),
    open: rows.findIndex((row) => "open" in row.dataset),
  };
}

/** Bars on the line, what went wrong hanging below it. The newest bucket is hollow while it still fills. */
function stack(paint, { heads, columns, times, open }) {
  const signed = columns.map((values, i) => values.map((n) => ("below" in heads[i] ? -(n ?? 0) : n ?? 0)));
  const sum = (isBelow) => times.map((_, k) => signed.reduce((all, values, i) => all + ("below" in heads[i] === isBelow ? values[k] : 0), 0));
  const drawn = {
    columns: signed.map((values, i) => ({ values, isBelow: "below" in heads[i] })),
    inks: heads.map((head) => ({ fill: fillOf(paint, head), hue: paint.colour("hue", head.state) })),
  };
  return {
    reach: [...sum(false), ...sum(true)],
    values: signed,
    series: heads.map(({ label }) => ({ label, width: 0, paths: () => null, points: { show: false } })),
    paint: (u, pen) => bars(u, pen, drawn, times, open),
  };
}

function lines(paint, { heads, columns, times }, isLog) {
  const known = columns.flat().filter((n) => n !== null);
  const floor = isLog ? logRange(known)[0] : -Infinity;
  const values = columns.map((column) => column.map((n) => (n === null ? null : Math.max(n, floor))));
  const inks = heads.map((head) => paint.colour(head.state ? "hue" : "ink-2", head.state));
  const single = values.flatMap((column, i) => isolated(column).map((k) => ({ time: times[k], value: column[k], ink: inks[i] })));
  return {
    reach: known,
    values,
    series: heads.map((head, i) => ({
      label: head.label, width: head.weight ? Number(head.weight) : paint.weight(head.state) * .75, points: { show: false }, spanGaps: false,
      stroke: inks[i], dash: head.dash === "none" ? undefined : paint.dashes(head.state),
    })),
    paint: (u, pen) => points(u, pen, single),
  };
}
const FORMS = { stack, lines };

function axes(paint, unit, isLog) {
  const common = { stroke: paint.colour("ink-3"), font: FONT, ticks: { show: false } };
  const places = (u, _axis, low, high) => {
    const most = Math.max(2, Math.floor(u.bbox.height / scale / 32));
    return isLog ? logTicks(low, high, most) : linearTicks(low, high, most, unit);
  };
  return [
    { ...common, values: (_u, at, _axis, _space, step) => instants(at, step, zone()), space: 64, size: 24, grid: { show: false } },
    { ...common, splits: places, filter: (_u, at) => at, values: (_u, at) => labels(at, unit), size: 60, grid: { stroke: paint.colour("rule"), width: 1 } },
  ];
}

function overlay(u, form, drawn, limits, colours) {
  const pen = u.ctx;
  const { left, top, width, height } = u.bbox;
  pen.save();
  if (form === "stack") { pen.fillStyle = colours.rule; pen.fillRect(left, Math.round(u.valToPos(0, "y", true)), width, scale); }
  limitLines(u, pen, limits, colours.limit);
  pen.beginPath();
  pen.rect(left - 4 * scale, top - 6 * scale, width + 8 * scale, height + 12 * scale);
  pen.clip();
  drawn.paint(u, pen);
  pen.restore();
}

function optionsOf(host, paint, source, drawn) {
  const { chart: form, unit = "n", min = "", max = "", limits: given = "", scale: kind } = host.dataset;
  const isLog = kind === "log";
  const limits = given.split(" ").filter(Boolean).map(Number);
  const bound = (text) => (text === "" ? null : Number(text));
  const reach = [...drawn.reach, ...limits.map((limit) => limit * 1.02)];
  const range = isLog ? logRange(reach) : linearRange(reach, { least: bound(min), most: bound(max), unit });
  const { times } = source;
  const step = times.length > 1 ? times[1] - times[0] : 60;
  const pad = form === "stack" ? step * .7 : step * .25;
  const colours = { rule: paint.colour("ink-3"), limit: paint.colour("ink-2") };
  return {
    width: host.clientWidth, height: host.clientHeight, padding: [8, 18, 0, 0], legend: { show: false },
    cursor: { y: false, points: { show: false } }, tzDate: (at) => (zone() ? uPlot.tzDate(new Date(at * 1000), zone()) : new Date(at * 1000)),
    scales: { x: { range: [times[0] - pad, times.at(-1) + pad] }, y: { distr: isLog ? 3 : 1, range } },
    axes: axes(paint, unit, isLog), series: [{}, ...drawn.series],
    hooks: { draw: [(u) => overlay(u, form, drawn, limits, colours)] },
  };
}

function draw(host) {
  const source = read(tableOf(host));
  const probe = document.body.appendChild(document.createElement("i"));
  const paint = tokens(probe);
  const drawn = FORMS[host.dataset.chart](paint, source, host.dataset.scale === "log");
  const options = optionsOf(host, paint, source, drawn);
  probe.remove();
  host.replaceChildren();
  return new uPlot(options, [source.times, ...drawn.values], host);
}

const signature = (host) => JSON.stringify(host.dataset) + tableOf(host).outerHTML;

function show(host) {
  const mark = signature(host);
  const before = plots.get(host);
  if (before?.mark === mark && host.firstElementChild) return;
  before?.plot.destroy();
  try {
    plots.set(host, { plot: draw(host), mark });
    delete host.closest("figure").dataset.plain;
  } catch (error) { // the numbers are still there to be read
    plots.delete(host);
    host.closest("figure").dataset.plain = "";
    console.error("A chart could not be drawn.", error);
  }
  sizes.observe(host);
}

function resize(host) {
  const { clientWidth: width, clientHeight: height } = host;
  const plot = plots.get(host)?.plot;
  if (plot && width && (plot.width !== width || plot.height !== height)) plot.setSize({ width, height });
}

function sync() {
  for (const [host, { plot }] of plots) {
    if (host.isConnected) continue;
    plot.destroy();
    sizes.unobserve(host);
    plots.delete(host);
  }
  document.querySelectorAll("[data-chart]").forEach(show);
}

function redraw() {
  for (const one of plots.values()) one.mark = "";
  sync();
}

const holdsChart = (node) => node.nodeType === 1 && (node.matches("[data-chart]") || node.querySelector("[data-chart]") !== null);
const touchesChart = ({ target, addedNodes, removedNodes }) =>
  Boolean((target.closest ? target : target.parentElement)?.closest("figure.plot")) || [...addedNodes, ...removedNodes].some(holdsChart);

sync();
new MutationObserver((records) => { if (records.some(touchesChart)) sync(); })
  .observe(document.getElementById("page"), { childList: true, characterData: true, subtree: true, attributes: true, attributeFilter: ["data-value", "data-open", "data-limits", "data-unit", "data-min", "data-max", "datetime"] });
new MutationObserver(redraw).observe(document.documentElement, { attributeFilter: ["data-theme", "data-contrast", "data-zone"] });
for (const query of ["(prefers-color-scheme: dark)", "(prefers-contrast: more)", "print"]) matchMedia(query).addEventListener("change", redraw);
