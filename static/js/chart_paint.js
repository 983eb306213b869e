// How charts are painted: what the tokens of a state say, bars, single points, limits and marks.
export const scale = devicePixelRatio;
const WIDEST = 14;
const LEAST = 2; // the height in px below which a bar would not be seen

/** What the tokens say at this moment: reads any custom property of a state, so no state is named here. */
export function tokens(probe) {
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
  if (form === "rising") {
    pen.moveTo(-1, 6); pen.lineTo(6, -1);
    pen.moveTo(-1, 1); pen.lineTo(1, -1);
    pen.moveTo(4, 6); pen.lineTo(6, 4);
    pen.stroke();
  } else pen.fillRect(1, 1, 2, 2);
  return pen.createPattern(canvas, "repeat");
}

/** Return the fill of a bar. */
export function fillOf(paint, { fill, state }) {
  const hue = paint.colour("hue", state);
  const ground = paint.colour("surface");
  if (fill === "soft") return `color-mix(in oklab, ${hue} 58%, ${ground})`;
  return fill ? tile(hue, ground, fill) : hue;
}

/** Paint one bucket: bars stand on the line or hang below it; each is high enough to be seen. An open bucket is hollow. */
function bucket(u, pen, { columns, inks }, index, x, wide, isOpen) {
  const line = u.valToPos(0, "y", true);
  const edges = { above: line, below: line };
  columns.forEach(({ values, isBelow }, at) => {
    if (!values[index]) return;
    const height = Math.max(LEAST * scale, Math.abs(u.valToPos(values[index], "y", true) - line));
    const side = isBelow ? "below" : "above";
    const top = isBelow ? edges.below : edges.above - height;
    edges[side] += isBelow ? height : -height;
    if (isOpen && height > 3 * scale) {
      pen.strokeStyle = inks[at].hue;
      pen.lineWidth = 1.5 * scale;
      pen.strokeRect(x - wide / 2 + scale * .75, top + scale * .75, wide - 1.5 * scale, height - 1.5 * scale);
    } else {
      pen.fillStyle = inks[at].fill;
      pen.fillRect(x - wide / 2, top, wide, height);
    }
  });
}

/** Paint all bars of a stack. */
export function bars(u, pen, stack, times, open) {
  const gap = times.length > 1 ? u.valToPos(times[1], "x", true) - u.valToPos(times[0], "x", true) : u.bbox.width;
  const wide = Math.max(scale, Math.min(WIDEST * scale, gap * .72));
  times.forEach((time, index) => bucket(u, pen, stack, index, u.valToPos(time, "x", true), wide, index === open));
}

/** Paint values that stand alone as points: a line needs two. */
export function points(u, pen, single) {
  for (const { time, value, ink } of single) {
    pen.fillStyle = ink;
    pen.beginPath();
    pen.arc(u.valToPos(time, "x", true), u.valToPos(value, "y", true), 2.5 * scale, 0, 2 * Math.PI);
    pen.fill();
  }
}

/** Paint limits as dotted lines. */
export function limitLines(u, pen, limits, ink) {
  const { left, width } = u.bbox;
  pen.strokeStyle = ink;
  pen.lineWidth = scale;
  pen.setLineDash([2 * scale, 3 * scale]);
  for (const limit of limits) {
    const y = Math.round(u.valToPos(limit, "y", true)) + .5;
    pen.beginPath();
    pen.moveTo(left, y);
    pen.lineTo(left + width, y);
    pen.stroke();
  }
  pen.setLineDash([]);
}
