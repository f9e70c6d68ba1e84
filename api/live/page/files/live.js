// The page: who is not signed in sees the entrance, who is sees rooms, talk and orders.

import { $, onSubmit, tell } from "./dom.js";
import { Orders } from "./orders.js";
import { Rooms, openingRooms } from "./rooms.js";
import { Session } from "./session.js";
import { Talk, saying } from "./talk.js";

const session = new Session();
let rooms, talk, orders;

function enter() {
  $("who").textContent = session.me.username;
  $("entrance").hidden = true;
  $("app").hidden = false;
  show("rooms");
  rooms = new Rooms(session, pick);
  orders = new Orders(session);
  $("rooms-title").focus();
  rooms.load().then(pickNamed);
}

// The room that the address names, as it does after the page is loaded anew or its link is passed on.
async function pickNamed() {
  const id = location.hash.slice(1);
  const found = id && (rooms?.find(id) ?? (await session.read(`/v1/rooms/${encodeURIComponent(id)}`).catch(() => {})));
  if (found && rooms && !talk) pick(found);
}

function leave() {
  for (const part of [rooms, talk, orders]) part?.end();
  rooms = talk = orders = undefined;
  $("room-name").textContent = "No room yet";
  $("room-topic").textContent = "Pick one from the list, or open one.";
  welcome();
}

function welcome() {
  $("app").hidden = true;
  $("entrance").hidden = false;
  $("sign-in").elements.username.focus();
}

async function pick(room) {
  talk?.end();
  talk = new Talk(session, room);
  rooms.picked(room);
  history.replaceState(null, "", `#${room.id}`);
  show("talk");
  $("room-name").focus();
  if (rooms.isMember(room)) await open(talk);
  else $(room.status === "open" ? "join" : "closed").hidden = false;
}

async function open(chosen) {
  await chosen.open();
  if (chosen === talk && matchMedia("(hover: hover)").matches) $("text").focus(); // no keyboard pops up on a phone
}

function show(view) {
  $("app").dataset.view = view;
  for (const button of $("views").children) button.setAttribute("aria-pressed", String(button.dataset.view === view));
}

onSubmit("sign-in", "entrance-alarm", async (data, form) => {
  await session.signIn(data.get("username").trim(), data.get("password"));
  form.reset();
  enter();
});
onSubmit("register", "entrance-alarm", async (data, form) => {
  await session.register(data.get("email").trim(), data.get("username").trim(), data.get("password"));
  form.reset();
  enter();
});
onSubmit("join", "talk-alarm", async () => {
  const joined = talk;
  const { token } = await session.write("POST", `/v1/rooms/${joined.room.id}/members`);
  await rooms.load(token);
  if (joined === talk) await open(joined);
});
openingRooms(() => rooms);
saying(() => talk);

$("leave").addEventListener("click", async () => {
  const left = talk;
  try {
    const { token } = await session.write("DELETE", `/v1/rooms/${left.room.id}/members/${session.me.id}`);
    await rooms?.load(token);
  } catch (error) {
    tell("talk-alarm", error.message);
  }
});
$("sign-out").addEventListener("click", () => session.signOut());
for (const button of $("views").children) button.addEventListener("click", () => show(button.dataset.view));
session.addEventListener("ended", ({ detail: why }) => {
  leave();
  tell("entrance-alarm", why);
});
addEventListener("beforeunload", (event) => talk?.isBusy && event.preventDefault());
welcome();
