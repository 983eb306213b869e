// The live connection. Reads body[data-live-rooms], [data-behavior=live] (the pill), [data-behavior=fresh], [data-fresh].
import { io } from "../vendor/socket.io/socket.io.esm.min.js";
import { append } from "./logs.js";
import { toast } from "./messages.js";
import { patch, patchCounts } from "./progress.js";
import { refreshAll, refreshOn } from "./regions.js";

const HIDDEN_AFTER = 10_000;
const rooms = (document.body.dataset.liveRooms ?? "").split(" ").filter(Boolean);
const pill = document.querySelector("[data-behavior=live]");
const fresh = document.querySelector("[data-behavior=fresh]");
const unseen = new Set();
let paused = false;
let hiding = 0;

const LOOKS = { live: ["processing", "Live"], paused: ["paused", "Paused"], offline: ["stuck", "Offline, retrying"] };

function look(name) {
  const [state, words] = LOOKS[name];
  if (!pill) return;
  pill.dataset.state = state;
  pill.querySelector("span").textContent = words;
  pill.setAttribute("aria-pressed", String(name === "paused"));
}

const socket = rooms.length ? io("/live", { transports: ["websocket", "polling"], autoConnect: false, reconnectionDelayMax: 10_000 }) : null;

function onChanged(things) {
  for (const thing of things) {
    refreshOn("changed", thing.kind);
    if (thing.kind === "job") noteRow(thing);
  }
}

// A row that is on the screen is read again; one that is not waits behind a button and moves nothing.
function noteRow(thing) {
  if (!fresh) return;
  if (document.getElementById(`row-${thing.id}`)) { refreshOn("rows"); return; }
  unseen.add(thing.id);
  fresh.hidden = false;
  fresh.querySelector("span").textContent = unseen.has("*") ? "New jobs" : `${unseen.size} new or changed`;
}

fresh?.addEventListener("click", async () => {
  unseen.clear();
  fresh.hidden = true;
  await refreshAll();
});

if (socket) {
  socket.on("connect", async () => {
    await socket.emitWithAck("watch", { rooms });
    look("live");
    refreshAll(); // something may have happened between the drawing of the page and this moment
  });
  socket.on("disconnect", () => { if (!paused) look("offline"); });
  socket.on("connect_error", () => look("offline"));
  socket.on("progress", (jobs) => jobs.forEach(patch));
  socket.on("counts", (told) => { patchCounts(told); refreshOn("counts"); });
  socket.on("changed", onChanged);
  socket.on("log", append);
  socket.on("alert", (told) => { if (told.status === "firing") toast(told.title); });
  socket.on("resync", () => refreshAll());
  socket.connect();
}

pill?.addEventListener("click", () => {
  if (!socket) return;
  paused = !paused;
  if (paused) { socket.disconnect(); look("paused"); } else { socket.connect(); refreshAll(); }
});

document.addEventListener("visibilitychange", () => {
  clearTimeout(hiding);
  if (!socket || paused) return;
  if (document.hidden) hiding = setTimeout(() => socket.disconnect(), HIDDEN_AFTER);
  else if (!socket.connected) socket.connect();
});
