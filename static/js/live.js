// The live connection. Reads body[data-live-rooms], [data-behavior=live] (the pill), [data-behavior=fresh], [data-fresh].
import { io } from "../vendor/socket.io/socket.io.esm.min.js";
import { append } from "./logs.js";
import { toast } from "./messages.js";
import { patch, patchCounts } from "./progress.js";
import { releasePlaces } from "./places.js";
import { refresh, refreshAll, refreshOn } from "./regions.js";

const HIDDEN_AFTER = 10_000;
const rooms = (document.body.dataset.liveRooms ?? "").split(" ").filter(Boolean);
const pill = document.querySelector("[data-behavior=live]");
const fresh = document.querySelector("[data-behavior=fresh]");
const COUNT_AFTER = 3_000;
const TICK_MS = 10_000;
let counting = 0;
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

// A row that is on the screen is read again soon; of others it is enough to learn now and then how many are new.
function noteRow(thing) {
  if (!fresh) return;
  if (document.getElementById(`row-${thing.id}`)) { refreshOn("rows"); return; }
  counting ||= setTimeout(() => { counting = 0; refreshOn("rows"); }, COUNT_AFTER);
}

fresh?.addEventListener("click", () => {
  const region = document.querySelector("[data-fresh]");
  releasePlaces(region);
  refresh(region);
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

// What silence means changes with time alone: no message comes of a worker that is lost.
setInterval(() => { if (socket?.connected && !document.hidden) refreshOn("tick"); }, TICK_MS);

document.addEventListener("visibilitychange", () => {
  clearTimeout(hiding);
  if (!socket || paused) return;
  if (document.hidden) hiding = setTimeout(() => socket.disconnect(), HIDDEN_AFTER);
  else if (!socket.connected) socket.connect();
});
