// The pill: how old the last heartbeat from the scheduler through Redis to this page is. Reads [data-behavior=live].
import { span } from "./clocks.js";

const LATE = 6; // seconds: three heartbeats of the scheduler
const KEY = "taskyard.paused";
const pill = document.querySelector("[data-behavior=live]");
const LOOKS = {
  connecting: ["pending", "Connecting", "The live connection is being opened. Pause updates (p)"],
  live: ["processing", "Live", "Updates arrive in real time. Pause updates (p)"],
  behind: ["stuck", "Delayed", "The last heartbeat is {age} old: the scheduler or Redis does not answer. This page may be out of date. Pause updates (p)"],
  paused: ["paused", "Paused", "Updates are paused. Resume updates (p)"],
  offline: ["stuck", "Offline", "The server does not answer. This page updates when it answers again. Pause updates (p)"],
};
let isPaused = recall();
let isConnected = false;
let beat = null; // the last heartbeat, or else the moment since which one is awaited, on both clocks
let hasBeat = false;

function recall() {
  try { return localStorage.getItem(KEY) === "1"; } catch { return false; }
}

const moment = (age) => ({ wall: Date.now() - age * 1000, steady: performance.now() - age * 1000 });

// The steady clock stands still while a laptop sleeps, the wall clock can be set back: the longer age is the true one.
const ageOf = ({ wall, steady }) => Math.max(0, Date.now() - wall, performance.now() - steady) / 1000;

function state(age) {
  if (isPaused) return "paused";
  if (!isConnected) return beat ? "offline" : "connecting";
  if (age > LATE) return "behind";
  return hasBeat ? "live" : "connecting";
}

function show() {
  if (!pill) return;
  const age = beat ? ageOf(beat) : 0;
  const name = state(age);
  const [hue, words, help] = LOOKS[name];
  const text = name === "behind" ? `${words} ${span(age)}` : words;
  const label = pill.querySelector("span");
  if (label.textContent !== text) label.textContent = text;
  pill.dataset.state = hue;
  pill.title = help.replace("{age}", span(age));
  pill.setAttribute("aria-pressed", String(isPaused));
}

export const paused = () => isPaused;

/** The connection is open; the last heartbeat that the server has seen is so old, or it has seen none (null). */
export function connected(age) {
  isConnected = true;
  hasBeat = age != null;
  beat = moment(age ?? 0);
  show();
}

export function disconnected() {
  isConnected = false;
  beat ??= moment(0);
  show();
}

export function heartbeat() {
  hasBeat = true;
  beat = moment(0);
  show();
}

function setPaused(value, onChange) {
  isPaused = value;
  isConnected = false;
  beat = null;
  show();
  onChange(value);
}

/** Pause and resume by the button, in every tab of this browser; `onChange` is called with whether updates are paused. */
export function watchPill(onChange) {
  pill?.addEventListener("click", () => {
    try { localStorage.setItem(KEY, isPaused ? "0" : "1"); } catch { /* remembered by this page only */ }
    setPaused(!isPaused, onChange);
  });
  addEventListener("storage", (event) => {
    if (event.key === KEY && recall() !== isPaused) setPaused(recall(), onChange);
  });
  show();
  setInterval(show, 1000);
}
