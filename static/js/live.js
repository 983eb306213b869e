// The live connection. Reads body[data-live-rooms], body[data-live-mark], [data-behavior=fresh], [data-fresh].
import { io } from "../vendor/socket.io/socket.io.esm.min.js";
import { append } from "./logs.js";
import { toast } from "./messages.js";
import { connected, disconnected, heartbeat, paused, watchPill } from "./pill.js";
import { patch, patchCounts } from "./progress.js";
import { releasePlaces } from "./places.js";
import { refresh, refreshOn, rereadAll } from "./regions.js";

const HIDDEN_AFTER = 10_000;
const REFUSED_AGAIN = 10_000;
const rooms = (document.body.dataset.liveRooms ?? "").split(" ").filter(Boolean);
const fresh = document.querySelector("[data-behavior=fresh]");
const COUNT_AFTER = 3_000;
const TICK_MS = 10_000;
let counting = 0;
let mark = document.body.dataset.liveMark;
let hiding = 0;
let isQuiet = false;

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

let alerts = null;

function onCounts(counts) {
  patchCounts(counts);
  if (isQuiet) return;
  refreshOn("counts");
  if (alerts !== null && alerts !== counts.alerts) refreshOn("changed", "alert");
  alerts = counts.alerts;
}

async function join() {
  const answer = await socket.emitWithAck("watch", { rooms: isQuiet ? ["status"] : rooms, mark });
  connected(answer.heartbeat_age_seconds);
  // Something may have happened between the drawing of the page, or the loss of the connection, and this moment.
  if (!answer.is_current && !isQuiet) rereadAll();
  mark = "";
}

// A refused connection, or one that the server has ended, is not opened again by the library.
function retryLater() {
  disconnected();
  if (!socket.active && !paused()) setTimeout(() => { if (!paused()) socket.connect(); }, REFUSED_AGAIN);
}

if (socket) {
  socket.on("connect", join);
  socket.on("disconnect", retryLater);
  socket.on("connect_error", retryLater);
  socket.on("heartbeat", heartbeat);
  socket.on("progress", (jobs) => jobs.forEach(patch));
  socket.on("counts", onCounts);
  socket.on("changed", onChanged);
  socket.on("log", append);
  socket.on("alert", (alert) => { if (alert.status === "firing") toast(alert.title); });
  socket.on("resync", () => { if (!isQuiet) rereadAll(); });
  watchPill((isPaused) => { if (isPaused) socket.disconnect(); else socket.connect(); });
  if (!paused()) socket.connect();
}

// A hidden tab asks for nothing: only the numbers in its title and its badges go on.
function hide() {
  isQuiet = true;
  if (socket.connected) socket.emit("unwatch", { rooms: rooms.filter((room) => room !== "status") });
}

function unhide() {
  clearTimeout(hiding);
  if (!isQuiet) return;
  isQuiet = false;
  if (!socket.connected) return;
  socket.emit("watch", { rooms });
  rereadAll();
}

// What silence means changes with time alone: no message comes of a worker that is lost.
setInterval(() => { if (socket?.connected && !document.hidden && !isQuiet) refreshOn("tick"); }, TICK_MS);

document.addEventListener("visibilitychange", () => {
  if (!socket) return;
  if (document.hidden) hiding = setTimeout(hide, HIDDEN_AFTER);
  else unhide();
});

// A page that Back brings back as it was has missed what happened.
addEventListener("pageshow", (event) => {
  if (!event.persisted || !socket || paused()) return;
  if (socket.connected) rereadAll(); else socket.connect();
});
