// The list of rooms: those that may be seen, which of them one is in, and opening another.

import { $, element, onSubmit, tell } from "./dom.js";

const EVERY_MS = 10_000;

export class Rooms {
  #session;
  #pick;
  #mine = new Set();
  #invited = new Set();
  #rooms = [];
  #next = null;
  #pages = 1;
  #picked;
  #timer;
  #ended = false;

  // `pick(room)` is called with a room that somebody wants to see.
  constructor(session, pick) {
    this.#session = session;
    this.#pick = pick;
    $("more-rooms").onclick = () => {
      this.#pages++;
      this.load();
    };
    this.#timer = setInterval(() => document.hidden || this.load(), EVERY_MS);
  }

  end() {
    this.#ended = true;
    clearInterval(this.#timer);
    this.#rooms = [];
    this.#show();
  }

  isMember(room) {
    return this.#mine.has(room.id);
  }

  find(id) {
    return this.#rooms.find((room) => room.id === id);
  }

  picked(room) {
    this.#picked = room?.id;
    this.#show();
  }

  // `after` is the token of a write that the list must include.
  async load(after) {
    try {
      const [rooms, mine, invited] = await Promise.all([
        this.#all("/v1/rooms?limit=50", this.#pages, after),
        this.#all("/v1/rooms?limit=100&mine=member", 10, after),
        this.#all("/v1/rooms?limit=100&mine=invited", 10, after),
      ]);
      if (this.#ended) return; // somebody else may have signed in by now
      this.#rooms = rooms.items;
      this.#next = rooms.next;
      this.#mine = new Set(mine.items.map((room) => room.id));
      this.#invited = new Set(invited.items.map((room) => room.id));
      tell("rooms-alarm");
      this.#show();
    } catch (error) {
      if (!this.#ended) tell("rooms-alarm", error.message);
    }
  }

  async open(name, topic, isPrivate) {
    const body = { name, private: isPrivate, ...(topic && { topic }) };
    const receipt = await this.#session.write("POST", "/v1/rooms", body);
    await this.load(receipt.token);
    this.#pick(this.find(receipt.id) ?? (await this.#session.read(`/v1/rooms/${receipt.id}`, receipt.token)));
  }

  async #all(path, pages, after) {
    const items = [];
    let next = null;
    for (; pages; pages--) {
      const page = await this.#session.read(next ? `${path}&cursor=${encodeURIComponent(next)}` : path, after);
      items.push(...page.items);
      next = page.next;
      if (!next) break;
    }
    return { items, next };
  }

  #show() {
    const focused = document.activeElement?.dataset?.room;
    $("room-list").replaceChildren(...this.#rooms.map((room) => this.#item(room)));
    if (!this.#rooms.length) $("room-list").append(element("li", { class: "pale" }, "No room yet. Open the first one."));
    $("more-rooms").hidden = !this.#next;
    if (focused) $("room-list").querySelector(`[data-room="${focused}"]`)?.focus();
  }

  #item(room) {
    const press = element("button", { type: "button", class: "room", "data-room": room.id });
    press.append(element("span", { class: "name", dir: "auto" }, room.name), element("span", { class: "pale" }, this.#standing(room)));
    if (room.id === this.#picked) press.setAttribute("aria-current", "true");
    press.addEventListener("click", () => this.#pick(room));
    return element("li", {}, press);
  }

  #standing(room) {
    const words = [];
    if (room.private) words.push("private");
    if (room.status === "closed") words.push("closed");
    if (this.#mine.has(room.id)) words.push("joined");
    else if (this.#invited.has(room.id)) words.push("you are invited");
    return words.join(", ");
  }
}

export function openingRooms(rooms) {
  onSubmit("open-room", "rooms-alarm", async (data, form) => {
    await rooms().open(data.get("name").trim(), data.get("topic").trim(), data.has("private"));
    form.reset();
    $("new-room").open = false;
  });
}
