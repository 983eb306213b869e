// Scales of charts: ranges that hold every value, ticks whose labels differ, values in words. Pure functions, no page.
const DURATIONS = [
  0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30,
  60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800, 604800, 1209600, 2592000,
];
const PARTS = [[86400, "d", 3600, "h"], [3600, "h", 60, "min"], [60, "min", 1, "s"]];
const HEADROOM = 1.08;

const short = (value, digits = 3) => String(Number(value.toPrecision(digits)));

/** Write a time span of seconds: "240 ms", "1.2 s", "2 min 10 s", "30 min", "1 h 5 min". */
export function duration(seconds) {
  if (seconds === 0) return "0 s";
  if (seconds < 0.9995) return `${short(seconds * 1000)} ms`;
  if (seconds < 59.5) return `${short(seconds, seconds < 10 ? 2 : 3)} s`;
  const whole = Math.round(seconds);
  const [size, unit, smaller, rest] = PARTS.find(([least]) => whole >= least);
  const left = Math.floor((whole % size) / smaller);
  const first = `${Math.floor(whole / size)} ${unit}`;
  return left ? `${first} ${left} ${rest}` : first;
}

/** Write a whole number in little room: "950", "1.5K", "12K", "3M". */
function amount(value) {
  const size = Math.abs(value);
  if (size >= 1e6) return `${short(size / 1e6)}M`;
  return size >= 1e3 ? `${short(size / 1e3)}K` : short(size);
}

const WORDS = {
  s: duration,
  ms: (value) => duration(value / 1000),
  MB: (value) => (value >= 1000 ? `${short(value / 1000)} GB` : `${short(value)} MB`),
  "%": (value) => `${short(value)} %`,
  n: amount,
};

/** Write a value with its unit. */
export const inWords = (value, unit) => WORDS[unit](value);

/** Return the lowest and highest value of a linear axis: no value and no limit lies outside, whatever is wished for. */
export function linearRange(values, { least = null, most = null, unit = "n" } = {}) {
  const low = Math.min(0, ...values);
  const high = Math.max(0, ...values);
  const fewest = unit === "n" ? 1 : 0;
  const top = Math.max(high * HEADROOM, low < 0 ? -low * 0.3 : 0, fewest) || 1;
  return [least === null ? low * HEADROOM : Math.min(least, low), most === null ? top : Math.max(most, high * 1.02)];
}

/** Return the ends of a logarithmic axis: the next steps outside of the values. */
export function logRange(values) {
  const positive = values.filter((value) => value > 0);
  if (!positive.length) return [0.1, 10];
  const [low, high] = [Math.min(...positive), Math.max(...positive)];
  const below = DURATIONS.filter((step) => step <= low * 0.95).pop() ?? low / 2;
  const above = DURATIONS.find((step) => step >= high * 1.05) ?? high * 2;
  return [below, above];
}

function linearStep(span, most, unit) {
  const wanted = span / most;
  const seconds = unit === "ms" ? wanted / 1000 : wanted;
  if (unit === "s" || unit === "ms") {
    const found = DURATIONS.find((step) => step >= seconds);
    if (found && seconds >= DURATIONS[0]) return unit === "ms" ? found * 1000 : found;
  }
  const size = 10 ** Math.floor(Math.log10(wanted));
  const step = [1, 2, 5, 10].map((factor) => factor * size).find((one) => one >= wanted * (1 - 1e-9));
  return unit === "n" ? Math.max(1, Math.round(step)) : step;
}

/** Return about so many places on a linear axis, two at least. */
export function linearTicks(low, high, most, unit) {
  const step = linearStep(high - low, Math.max(1, most), unit);
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  const ticks = Array.from({ length: last - first + 1 }, (_, index) => (first + index) * step);
  return ticks.length > 1 || most > 12 ? ticks : linearTicks(low, high, most + 1, unit);
}

/** Return about so many places on a logarithmic axis, its ends among them. */
export function logTicks(low, high, most) {
  const within = DURATIONS.filter((step) => step > low && step < high);
  const places = [low, ...within, high];
  const every = Math.max(1, Math.ceil((places.length - 1) / Math.max(1, most - 1)));
  const chosen = places.filter((_, index) => index % every === 0);
  return chosen.length > 1 ? chosen : [low, high];
}

/** Return labels of ticks; one that would say the same as the one before stays empty. */
export function labels(ticks, unit) {
  const words = ticks.map((tick) => inWords(tick, unit));
  return words.map((word, index) => (index && word === words[index - 1] ? "" : word));
}

/** Return where a line has a value with none on either side: nothing would be drawn of it. */
export const isolated = (values) => values.flatMap((value, index) =>
  (value !== null && (values[index - 1] ?? null) === null && (values[index + 1] ?? null) === null ? [index] : []));

/** Return labels of instants on an axis: the day at midnight and with steps of days, else the time of day. */
export function instants(seconds, step, zone) {
  const day = new Intl.DateTimeFormat("en-GB", { timeZone: zone, day: "numeric", month: "short" });
  const time = new Intl.DateTimeFormat("en-GB", { timeZone: zone, hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  return seconds.map((at) => {
    const moment = new Date(at * 1000);
    const words = time.format(moment);
    return step >= 86400 || words === "00:00" ? day.format(moment) : words;
  });
}
