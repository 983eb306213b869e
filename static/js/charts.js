// Charts read their numbers from the table that stands below them ("Show as table"): th[data-state] gives hue, pattern and weight,
// th[data-below] hangs, th[data-fill] is "soft", "rising" or "dots", tr[data-mark] is a deploy, tr[data-open] a bucket not yet over.
const scale = devicePixelRatio;

/** What the tokens say at this moment: reads any custom property of a state, so no state is named here. */
function tokens(probe) {
  const read = (property, state) => {
    if (state) probe.dataset.state = state; else delete probe.dataset.state;
    probe.style.color = `var(${property})`;
    return getComputedStyle(probe);
  };
  return {
    colour: (name, state) => read(`--${name}`, state).color,
    dashes: (state) => read("--hue", state).getPropertyValue("--dashes").trim().split(" ").map(Number).filter(Boolean),
    weight: (state) => parseFloat(read("--hue", state).getPropertyValue("--w")) || 2,
  };
}

/** A small repeating tile, so that series differ without hue. */
function tile(ink, ground, form) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 5 * scale;
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  pen.fillStyle = ground;
  pen.fillRect(0, 0, 5, 5);
  pen.strokeStyle = pen.fillStyle = ink;
  pen.lineWidth = 1.4;
  pen.beginPath();
  if (form === "rising") { pen.moveTo(-1, 6); pen.lineTo(6, -1); pen.moveTo(-1, 1); pen.lineTo(1, -1); pen.moveTo(4, 6); pen.lineTo(6, 4); pen.stroke(); }
  else pen.fillRect(1, 1, 2, 2);
  return pen.createPattern(canvas, "repeat");
}

const units = {
  s: (n) => (n >= 3600 ? `${+(n / 3600).toFixed(1)} h` : n >= 60 ? `${Math.round(n / 60)} m` : n >= 1 ? `${+n.toFixed(1)} s` : `${+(n * 1000).toFixed(1)} ms`),
  MB: (n) => (n >= 1000 ? `${+(n / 1000).toFixed(1)} GB` : `${+n.toPrecision(3)} MB`),
  ms: (n) => (n >= 1000 ? `${n / 1000} s` : `${n} ms`),
  "%": (n) => `${n} %`,
  n: (n) => (Math.abs(n) >= 1000 ? `${Math.abs(n) / 1000}K` : Math.abs(n)),
};

function read(table) {
  const heads = [...table.tHead.rows[0].cells].slice(1).map((cell) => ({ label: cell.textContent, ...cell.dataset }));
  const rows = [...table.tBodies[0].rows];
  const value = (cell) => (cell.textContent === "" ? null : Number(cell.textContent));
  return {
    heads,
    times: rows.map((row) => Date.parse(row.cells[0].querySelector("time").dateTime) / 1000),
    columns: heads.map((_, i) => rows.map((row) => value(row.cells[i + 1]))),
    marks: rows.flatMap((row, i) => (row.dataset.mark ? [{ i, text: row.dataset.mark }] : [])),
    open: rows.findIndex((row) => "open" in row.dataset),
  };
}

/** Bars on the line, what went wrong hanging below it. The newest bucket is hollow while it still fills. */
function stack(paint, { heads, columns, open }) {
  const sums = [];
  for (const below of [false, true]) {
    let total = null;
    heads.forEach((head, i) => {
      if ("below" in head !== below) return;
      total = columns[i].map((n, k) => (n ?? 0) + (total?.[k] ?? 0));
      sums.push({ head, values: total.map((n, k) => (columns[i][k] ? (below ? -n : n) : null)) });
    });
  }
  const draw = [...sums].reverse();
  const bars = uPlot.paths.bars({ size: [.72, 14], align: 0 });
  const fill = ({ fill, state }) => {
    const hue = paint.colour("hue", state);
    const ground = paint.colour("surface");
    return fill === "soft" ? `color-mix(in oklab, ${hue} 58%, ${ground})` : fill ? tile(hue, ground, fill) : hue;
  };
  const paints = draw.map(({ head }) => fill(head));
  return {
    values: draw.map(({ values }) => values.map((n, k) => (k === open ? null : n))),
    series: draw.map(({ head }, i) => ({ label: head.label, fill: () => paints[i], width: 0, paths: bars, points: { show: false } })),
    hollow: open < 0 ? [] : draw.map(({ head, values }) => ({ value: values[open], ink: paint.colour("hue", head.state) })).filter(({ value }) => value),
  };
}

function lines(paint, { heads, columns }) {
  return {
    values: columns,
    series: heads.map((head) => ({
      label: head.label, width: head.weight ? Number(head.weight) : paint.weight(head.state) * .75, points: { show: false }, spanGaps: false,
      stroke: paint.colour(head.state ? "hue" : "ink-2", head.state), dash: head.dash === "none" ? undefined : paint.dashes(head.state),
      fill: "area" in head ? paint.colour("tint", head.state) : undefined,
    })),
    hollow: [],
  };
}
const forms = { stack, lines };

function overlay(u, { ink, warn, word, ground }, { limits, marks, times, open, hollow, form }) {
  const pen = u.ctx;
  const { left, top, width, height } = u.bbox;
  pen.save();
  if (form === "stack") { pen.fillStyle = ink; pen.fillRect(left, Math.round(u.valToPos(0, "y", true)), width, scale); }
  for (const limit of limits) {
    const y = Math.round(u.valToPos(limit, "y", true)) + .5;
    pen.strokeStyle = warn; pen.lineWidth = scale; pen.setLineDash([2 * scale, 3 * scale]);
    pen.beginPath(); pen.moveTo(left, y); pen.lineTo(left + width, y); pen.stroke(); pen.setLineDash([]);
  }
  pen.font = `${11 * scale}px Inter, system-ui, sans-serif`;
  let free = left;
  for (const { i, text } of marks) {
    const x = Math.round(u.valToPos(times[i], "x", true));
    pen.fillStyle = word; pen.fillRect(x, top - 6 * scale, scale, height + 6 * scale);
    pen.textAlign = x > left + width * .7 ? "right" : "left";
    const span = pen.measureText(text).width + 12 * scale;
    if ((pen.textAlign === "left" ? x : x - span) < free) continue;
    free = pen.textAlign === "left" ? x + span : x;
    pen.lineWidth = 4 * scale; pen.strokeStyle = ground; pen.strokeText(text, x + (pen.textAlign === "left" ? 5 : -5) * scale, top);
    pen.fillText(text, x + (pen.textAlign === "left" ? 5 : -5) * scale, top);
  }
  const wide = Math.min(14 * scale, (width / times.length) * .72);
  for (const { value, ink: hue } of hollow) {
    const x = u.valToPos(times[open], "x", true) - wide / 2;
    const [y0, y1] = [u.valToPos(0, "y", true), u.valToPos(value, "y", true)];
    pen.strokeStyle = hue; pen.lineWidth = 1.5 * scale; pen.strokeRect(x, Math.min(y0, y1), wide, Math.abs(y1 - y0));
  }
  pen.restore();
}

function axes(paint, unit, days, height, splits) {
  const common = { stroke: paint.colour("ink-3"), font: "11px Inter, system-ui, sans-serif", ticks: { show: false } };
  const when = days ? { day: "numeric", month: "short" } : { hour: "2-digit", minute: "2-digit" };
  const label = (t) => new Date(t * 1000).toLocaleString("en-GB", when);
  return [
    { ...common, values: (_, at) => at.map(label), space: 76, size: 24, grid: { show: false } },
    { ...common, values: (_, at) => at.map((n) => (splits && !splits.includes(n) ? "" : units[unit](n))), size: 46, space: height < 140 ? 26 : 36, grid: { stroke: paint.colour("rule"), width: 1 }, ...(splits ? { splits: () => splits, filter: (_, at) => at } : {}) },
  ];
}

function draw(host) {
  const { chart: form, unit = "n", min = "", max = "", limits: given = "", scale: kind, splits, days } = host.dataset;
  const source = read(host.closest("figure").querySelector("table"));
  const probe = host.appendChild(document.createElement("i"));
  const paint = tokens(probe);
  const { values, series, hollow } = forms[form](paint, source);
  const { times, marks, open } = source;
  const step = (times[1] - times[0]) * .7;
  const colours = { ink: paint.colour("ink-3"), warn: paint.colour("ink-2"), word: paint.colour("ink-2"), ground: paint.colour("surface") };
  const height = host.clientHeight;
  const limits = given.split(" ").filter(Boolean).map(Number);
  const options = {
    width: host.clientWidth, height, padding: [marks.length ? 16 : 8, 6, 0, 0], cursor: { y: false, points: { show: false } }, legend: { show: false },
    scales: { x: { range: (_, from, to) => (form === "stack" ? [from - step, to + step] : [from, to]) }, y: { distr: kind === "log" ? 3 : 1, range: (_, low, high) => [min === "" ? Math.min(0, low * 1.12) : Number(min), max === "" ? Math.max(high * 1.12, -low * .3, .1, ...limits.map((limit) => limit * 1.06)) : Number(max)] } },
    axes: axes(paint, unit, days !== undefined, height, splits?.split(" ").map(Number)), series: [{}, ...series],
    hooks: { draw: [(u) => overlay(u, colours, { limits, marks, times, open, hollow, form })] },
  };
  probe.remove();
  host.replaceChildren();
  return new uPlot(options, [times, ...values], host);
}

for (const host of document.querySelectorAll("[data-chart]")) {
  let plot = draw(host);
  const again = () => { plot.destroy(); plot = draw(host); };
  new ResizeObserver(() => plot.setSize({ width: host.clientWidth, height: host.clientHeight })).observe(host);
  new MutationObserver(again).observe(document.documentElement, { attributeFilter: ["data-theme", "data-contrast"] });
  for (const query of ["(prefers-color-scheme: dark)", "(prefers-contrast: more)", "print"]) matchMedia(query).addEventListener("change", again);
}
