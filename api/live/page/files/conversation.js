// A room over its WebSocket: everything behind a place once and in order, whatever becomes of the connection.
//
// A message has its `client_id` from the start and goes out again after every new connection until the room says that
// it is stored: by that name it is stored once. One is on its way at a time, so that they are stored in their order.

import { backoff } from "./pace.js";
import { isPassing, newId, problemKind } from "./session.js";

const PING_MS = 15_000;
const STEADY_MS = 5_000; // a connection that held so long was a good one
const RESTART = 1012;
const TOO_BIG = 1009;
const LEFT = 1000;
const OVER = new Set(["not-room-member", "not-found", "insufficient-scope"]);
const FALSE_FRAME = new Set(["invalid", "malformed-json"]);

export class Conversation {
  #session;
  #path;
  #seq;
  #told;
  #socket;
  #welcomed = 0;
  #refusal;
  #onItsWay;
  #attempts = 0;
  #timer;
  #again;
  #heartbeat;
  #heard = false;
  #finishing = false;
  #ended = false;

  pending = [];

  // `told` is called: `happened(frame)` for what is new, `changed()` when `pending` is another, `connection(state)` with
  // "connecting", "live" or "waiting", `over(words)` at the end, `lost()` when the room has another history.
  constructor(session, roomId, seq, told) {
    this.#session = session;
    this.#path = `/v1/rooms/${roomId}/live`;
    this.#seq = seq;
    this.#told = told;
    addEventListener("online", this.#online);
    this.#connect();
  }

  say(text) {
    this.pending.push({ clientId: newId(), text: text.toWellFormed?.() ?? text, state: "sending" });
    this.#told.changed();
    this.#sayNext();
  }

  // Under a new name: under the old one it was refused.
  sayAgain(entry) {
    Object.assign(entry, { clientId: newId(), state: "sending", why: undefined });
    this.#told.changed();
    this.#sayNext();
  }

  discard(entry) {
    this.pending = this.pending.filter((each) => each !== entry);
    this.#told.changed();
  }

  // Ends once all that was said is stored.
  finish() {
    this.#finishing = true;
    if (!this.isBusy) this.end();
  }

  get isBusy() {
    return this.pending.some((entry) => entry.state === "sending");
  }

  end() {
    this.#ended = true;
    removeEventListener("online", this.#online);
    this.#rest();
    this.#socket?.close(1000);
  }

  #online = () => this.#timer && this.#connect();

  #connect() {
    this.#rest();
    this.#told.connection("connecting");
    const url = new URL(this.#path, location.href);
    url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(url);
    const token = this.#session.token;
    this.#socket = socket;
    this.#welcomed = 0;
    socket.onopen = () => this.#send({ type: "auth", token, after: this.#seq });
    socket.onmessage = ({ data }) => socket === this.#socket && this.#hear(JSON.parse(data));
    socket.onclose = ({ code }) => socket === this.#socket && this.#closed(code, token);
    this.#heard = true;
    this.#heartbeat = setInterval(() => this.#beat(), PING_MS);
  }

  #rest() {
    clearTimeout(this.#timer);
    clearTimeout(this.#again);
    clearInterval(this.#heartbeat);
    this.#timer = undefined;
  }

  #send(frame) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(frame));
  }

  // A line that is dead without a word: nothing has come since the last ping.
  #beat() {
    if (!this.#heard) {
      this.#drop();
      return;
    }
    this.#heard = false;
    if (this.#welcomed) this.#send({ type: "ping" });
  }

  #drop() {
    const socket = this.#socket;
    this.#closed(RESTART, this.#session.token);
    socket.close(); // its close frame may never come, and is not waited for
  }

  #hear(frame) {
    this.#heard = true;
    switch (frame.type) {
      case "welcome":
        this.#welcomed = Date.now();
        this.#told.connection("live");
        this.#sayNext();
        break;
      case "ack":
        this.#stored(frame.client_id, "stored");
        break;
      case "error":
        if (frame.client_id) this.#refused(frame);
        else this.#refusal = frame.code;
        break;
      case "pong":
        break;
      default:
        if (frame.seq) this.#happened(frame);
    }
  }

  #happened(frame) {
    if (frame.seq <= this.#seq) return;
    if (frame.seq > this.#seq + 1) {
      this.#drop();
      return;
    }
    this.#seq = frame.seq;
    if (frame.type === "message" && frame.from === this.#session.me.id) this.#stored(frame.client_id, "there");
    this.#told.happened(frame);
  }

  // By its ack, or by itself: they come in either order. It is shown as pending until it is there itself.
  #stored(clientId, state) {
    const entry = this.pending.find((each) => each.clientId === clientId);
    if (entry) {
      entry.state = state;
      if (state === "there") this.pending = this.pending.filter((each) => each !== entry);
      this.#told.changed();
    }
    if (this.#onItsWay?.clientId === clientId) this.#onItsWay = undefined;
    if (this.#finishing) this.finish();
    this.#sayNext();
  }

  #sayNext() {
    if (!this.#welcomed || this.#onItsWay) return;
    const entry = this.pending.find((each) => each.state === "sending");
    if (!entry) return;
    this.#onItsWay = entry;
    this.#send({ type: "message", client_id: entry.clientId, text: entry.text });
  }

  async #refused(frame) {
    const entry = this.#onItsWay;
    if (entry?.clientId !== frame.client_id) return;
    const kind = await problemKind(frame.code).catch(() => ({ code: frame.code, status: 0 }));
    if (this.#onItsWay !== entry || this.#ended) return;
    if (isPassing(kind)) {
      this.#again = setTimeout(() => this.#sayOnceMore(entry), backoff(this.#attempts++));
      return;
    }
    this.#fail(entry, kind.meaning);
    this.#sayNext();
  }

  #sayOnceMore(entry) {
    if (this.#onItsWay !== entry) return;
    this.#onItsWay = undefined;
    this.#sayNext();
  }

  #fail(entry, why) {
    Object.assign(entry, { state: "failed", why });
    this.#onItsWay = undefined;
    this.#told.changed();
  }

  async #closed(code, token) {
    const [why, welcomed, said] = [this.#refusal, this.#welcomed, this.#onItsWay];
    this.#socket = this.#refusal = this.#onItsWay = undefined;
    this.#welcomed = 0;
    this.#rest();
    if (this.#ended) return;
    if (code === LEFT || OVER.has(why)) {
      this.#over(why);
    } else if (FALSE_FRAME.has(why) && !welcomed) {
      this.end();
      this.#told.lost(); // we have seen what this server knows nothing of
    } else {
      if (said && (code === TOO_BIG || FALSE_FRAME.has(why))) this.#fail(said, "The server does not take this text.");
      if (why === "unauthenticated") await this.#session.renew(token).catch(() => {});
      if (!this.#ended) this.#comeBack(welcomed);
    }
  }

  async #over(why) {
    this.end();
    const kind = why && (await problemKind(why).catch(() => undefined));
    this.#told.over(kind ? kind.meaning : "You have left this room.");
  }

  #comeBack(welcomed) {
    if (welcomed && Date.now() - welcomed > STEADY_MS) this.#attempts = 0;
    this.#told.connection("waiting");
    this.#timer = setTimeout(() => this.#connect(), backoff(this.#attempts++));
  }
}
