// Who is in a room, and who of them listens at this moment.

import { $, element } from "./dom.js";

const EVERY_MS = 5_000;
const SOON_MS = 400;

export class Members {
  #session;
  #path;
  #changed;
  #names = new Map();
  #timer;
  #soon;
  #ended = false;

  // `changed()` is called when names have become known.
  constructor(session, roomId, changed) {
    this.#session = session;
    this.#path = `/v1/rooms/${roomId}/members?limit=100`;
    this.#changed = changed;
    this.#timer = setInterval(() => document.hidden || this.load(), EVERY_MS);
  }

  end() {
    this.#ended = true;
    clearInterval(this.#timer);
    clearTimeout(this.#soon);
    $("present").hidden = true;
  }

  // What somebody is called. Who has left, and whose name was never seen, has none.
  name(accountId) {
    if (accountId === this.#session.me.id) return "You";
    return this.#names.get(accountId) ?? "Somebody";
  }

  knows(accountId) {
    return this.#names.has(accountId);
  }

  // Somebody came or went: the list is told of it a moment later than the room.
  expectNews() {
    clearTimeout(this.#soon);
    this.#soon = setTimeout(() => this.load(), SOON_MS);
  }

  async load() {
    let next = "";
    const members = [];
    try {
      do {
        const page = await this.#session.read(this.#path + next);
        members.push(...page.items);
        next = page.next && `&cursor=${encodeURIComponent(page.next)}`;
      } while (next);
    } catch {
      return; // the connection says what is wrong, and the next turn comes
    }
    if (this.#ended) return;
    const known = this.#names.size;
    for (const { account_id: id, name } of members) this.#names.set(id, name ?? "Erased account");
    $("members").replaceChildren(...members.map((member) => this.#item(member)));
    $("present").hidden = false;
    if (this.#names.size !== known) this.#changed();
  }

  #item({ account_id: id, standing, online }) {
    const presence = { true: "online", false: "away", null: "" }[String(online)];
    const words = [standing === "member" ? "" : standing, presence].filter(Boolean).join(", ");
    return element(
      "li",
      { class: "member", "data-online": String(online) },
      element("span", { class: "name", dir: "auto" }, this.name(id)),
      element("span", { class: "pale" }, words),
    );
  }
}
