// The room that is open: what was said, what is said, and what is on its way.

import { Conversation } from "./conversation.js";
import { $, button, element, onSubmit, tell, timeOf } from "./dom.js";
import { Members } from "./members.js";
import { backoff, pause } from "./pace.js";
import { isPassing } from "./session.js";

const PAGE = 50;
const NEAR = 80; // pixels from an end at which one is there
const STATES = { connecting: "Connecting …", live: "Live", waiting: "Connection lost. Trying again …" };

export class Talk {
  #session;
  #room;
  #members;
  #conversation;
  #older = null;
  #loading = false;
  #ended = false;

  constructor(session, room) {
    this.#session = session;
    this.#room = room;
    $("room-name").textContent = room.name;
    $("room-topic").textContent = room.topic ?? "";
    this.#members = new Members(session, room.id, () => this.#name());
    $("scroll").onscroll = () => this.#scrolled();
    $("newest").onclick = () => this.#toTheEnd();
    this.#clear();
  }

  get room() {
    return this.#room;
  }

  // As soon as the server can tell of it.
  async open() {
    for (let attempts = 0; !this.#ended; attempts++) {
      try {
        return await this.#load();
      } catch (error) {
        if (!isPassing(error)) return this.#over(error.message);
        this.#state("waiting", STATES.waiting);
        await pause(backoff(attempts));
      }
    }
  }

  // The newest messages, and from there on whatever comes.
  async #load() {
    this.#members.load();
    const page = await this.#session.read(`/v1/rooms/${this.#room.id}/messages?limit=${PAGE}`);
    if (this.#ended) return;
    this.#clear();
    this.#older = page.next;
    $("log").setAttribute("aria-busy", "true"); // what was said long ago is not read out
    $("lines").append(...page.items.reverse().map((message) => this.#line(message)));
    $("beginning").hidden = Boolean(this.#older);
    this.#canSay(this.#room.status === "open");
    $("leave").hidden = false;
    const seq = page.items.at(-1)?.seq ?? 0;
    requestAnimationFrame(() => {
      this.#toTheEnd();
      $("log").removeAttribute("aria-busy");
    });
    this.#conversation = new Conversation(this.#session, this.#room.id, seq, {
      happened: (frame) => this.#ended || this.#happened(frame),
      changed: () => this.#ended || this.#showPending(),
      connection: (state) => this.#ended || this.#state(state, STATES[state]),
      over: (words) => this.#ended || this.#over(words),
      lost: () => this.open(),
    });
  }

  say(text) {
    this.#conversation?.say(text);
    this.#toTheEnd();
  }

  get isBusy() {
    return Boolean(this.#conversation?.isBusy);
  }

  // What is on its way arrives, also while another room is looked at.
  end() {
    this.#ended = true;
    this.#conversation?.finish();
    this.#members.end();
    this.#clear();
    this.#state("none", "");
  }

  #clear() {
    for (const id of ["lines", "pending"]) $(id).replaceChildren();
    for (const id of ["beginning", "newest", "say", "leave", "join", "closed"]) $(id).hidden = true;
    tell("talk-alarm");
  }

  #over(words) {
    tell("talk-alarm", words);
    $("say").hidden = $("leave").hidden = true;
    this.#state("over", "Not connected");
    this.#members.end();
  }

  #canSay(open) {
    $("say").hidden = !open;
    $("closed").hidden = open;
  }

  #state(state, words) {
    $("state").dataset.state = state;
    $("state").textContent = words;
  }

  #happened(frame) {
    const atEnd = this.#isAtEnd();
    const line = frame.type === "message" ? this.#line(frame) : this.#note(frame);
    $("lines").append(line);
    if (frame.type !== "message") this.#members.expectNews();
    else if (!this.#members.knows(frame.from)) this.#members.expectNews();
    if (frame.type === "closed") this.#canSay(false);
    if (atEnd) this.#toTheEnd();
    else $("newest").hidden = false;
  }

  #line({ seq, from, text, at }) {
    const mine = from === this.#session.me.id;
    const head = element("p", { class: "head" }, this.#author(from), " ", timeOf(at));
    return element(
      "li",
      { class: mine ? "line mine" : "line", "data-seq": seq },
      head,
      element("p", { class: "text", dir: "auto" }, text),
    );
  }

  #author(accountId) {
    return element("span", { class: "name", dir: "auto", "data-account": accountId }, this.#members.name(accountId));
  }

  #note(frame) {
    const who = () => this.#author(frame.account_id ?? frame.by);
    const sentOut = frame.by && frame.by !== frame.account_id;
    const parts = {
      joined: () => [who(), " joined"],
      left: () => [who(), sentOut ? " was sent out" : " left"],
      invited: () => [who(), " was invited"],
      uninvited: () => [who(), sentOut ? " is invited no more" : " declined the invitation"],
      closed: () => [who(), " closed the room"],
    }[frame.type];
    return element("li", { class: "note pale", "data-seq": frame.seq }, ...(parts ? parts() : [frame.type]));
  }

  // Names that were not known when their lines were written.
  #name() {
    for (const author of $("lines").querySelectorAll("[data-account]")) {
      author.textContent = this.#members.name(author.dataset.account);
    }
  }

  #showPending() {
    const atEnd = this.#isAtEnd();
    $("pending").replaceChildren(...this.#conversation.pending.map((entry) => this.#pendingLine(entry)));
    if (atEnd) this.#toTheEnd();
  }

  #pendingLine(entry) {
    const head = element("p", { class: "head" }, element("span", { class: "name" }, "You"), " ");
    const line = element("li", { class: "line mine", "data-state": entry.state }, head);
    line.append(element("p", { class: "text", dir: "auto" }, entry.text));
    if (entry.state === "sending") head.append("sending …");
    if (entry.state === "failed") {
      line.append(
        element("p", { class: "alarm", role: "alert" }, `Not sent. ${entry.why}`),
        button("Try again", () => this.#conversation.sayAgain(entry)),
        button("Discard", () => this.#conversation.discard(entry)),
      );
    }
    return line;
  }

  #isAtEnd() {
    const { scrollHeight, scrollTop, clientHeight } = $("scroll");
    return scrollHeight - scrollTop - clientHeight < NEAR;
  }

  #toTheEnd() {
    $("scroll").scrollTop = $("scroll").scrollHeight;
    $("newest").hidden = true;
  }

  #scrolled() {
    if (this.#isAtEnd()) $("newest").hidden = true;
    if ($("scroll").scrollTop < NEAR) this.#loadOlder();
  }

  async #loadOlder() {
    if (this.#loading || !this.#older) return;
    this.#loading = true;
    const cursor = encodeURIComponent(this.#older);
    try {
      const page = await this.#session.read(`/v1/rooms/${this.#room.id}/messages?limit=${PAGE}&cursor=${cursor}`);
      if (!this.#ended) this.#prepend(page);
    } catch (error) {
      tell("talk-alarm", error.message);
    } finally {
      this.#loading = false;
    }
  }

  // What is read stays where it is.
  #prepend(page) {
    const [scroll, lines] = [$("scroll"), $("lines")];
    const fromEnd = scroll.scrollHeight - scroll.scrollTop;
    $("log").setAttribute("aria-busy", "true");
    lines.prepend(...page.items.reverse().map((message) => this.#line(message)));
    scroll.scrollTop = scroll.scrollHeight - fromEnd;
    this.#older = page.next;
    $("beginning").hidden = Boolean(this.#older);
    requestAnimationFrame(() => $("log").removeAttribute("aria-busy"));
  }
}

// The form for what is said: Enter sends, as everywhere where people talk.
export function saying(talk) {
  onSubmit("say", "talk-alarm", (_data, form) => {
    const text = $("text").value;
    if (text.trim()) talk().say(text);
    form.reset();
    $("text").focus();
  });
  $("text").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    $("say").requestSubmit();
  });
}
