// One's own orders as they move: a list, asked for now and then because new ones are placed elsewhere, and one event
// stream for all of them. `EventSource` cannot send the token: the stream is read by `fetch`.

import { $, element, tell, timeOf } from "./dom.js";
import { backoff, pause } from "./pace.js";

const MOST = 20; // orders of one stream
const EVERY_MS = 3_000;
const SILENT_MS = 40_000; // the server says something every 15 seconds
const WAY = ["pending", "paid", "shipped", "done"];

export class Orders {
  #session;
  #orders = new Map();
  #stream;
  #attempts = 0;
  #ended = false;

  constructor(session) {
    this.#session = session;
    this.#watch();
  }

  end() {
    this.#ended = true;
    this.#stream?.abort();
    this.#orders.clear();
    this.#show();
    $("order-news").textContent = "";
  }

  async #watch() {
    while (!this.#ended) {
      if (!document.hidden || !this.#stream) await this.#look();
      await pause(EVERY_MS);
    }
  }

  async #look() {
    try {
      const page = await this.#session.read(`/v1/orders?limit=${MOST}&customer_id=${this.#session.me.id}`);
      if (this.#ended) return;
      this.#take(page.items);
      tell("orders-alarm");
    } catch (error) {
      if (!this.#ended) tell("orders-alarm", error.message);
    }
  }

  // Of an order that the stream has told more of, the list is behind.
  #take(documents) {
    const known = this.#orders;
    this.#orders = new Map(documents.map((order) => [order.id, newer(known.get(order.id), order)]));
    const ids = [...this.#orders.keys()];
    if (ids.some((id) => known.get(id) !== this.#orders.get(id))) this.#show();
    if (ids.join() === [...known.keys()].join()) return;
    this.#stream?.abort();
    this.#stream = undefined;
    if (ids.length) this.#follow((this.#stream = new AbortController()));
  }

  async #follow(stream) {
    while (!stream.signal.aborted) {
      try {
        await this.#read(stream.signal);
        this.#attempts = 0;
      } catch (error) {
        if (stream.signal.aborted) return;
        if (error.status === 404 || error.status === 422) return this.#orders.clear(); // another history: they are asked for anew
      }
      await pause(backoff(this.#attempts++));
    }
  }

  async #read(ended) {
    const orders = [...this.#orders.values()];
    const asked = orders.map((order) => `order_id=${order.id}`).join("&");
    const lastId = orders.map((order) => order.version).join(",");
    const silent = new AbortController();
    const signal = AbortSignal.any([ended, silent.signal]);
    const response = await this.#session.ask(`/v1/orders/events?${asked}`, {
      headers: { Accept: "text/event-stream", "Last-Event-ID": lastId },
      signal,
    });
    for await (const event of eventsOf(response.body, silent)) {
      if (event.name === "end") return;
      this.#changed(JSON.parse(event.data));
    }
  }

  #changed({ order_id: id, version, status, at }) {
    const order = this.#orders.get(id);
    if (!order || version <= order.version) return;
    Object.assign(order, { version, status, changedAt: at });
    $("order-news").textContent = `Order ${order.order_no} is ${status}.`;
    this.#show(id);
  }

  #show(moved) {
    $("order-list").replaceChildren(...[...this.#orders.values()].map((order) => item(order, order.id === moved)));
    $("no-orders").hidden = this.#orders.size > 0;
  }
}

const newer = (known, order) => (known && known.version >= order.version ? known : order);

function item(order, moved) {
  const goods = order.items.map(({ quantity, name }) => `${quantity} × ${name}`).join(", ");
  return element(
    "li",
    { class: moved ? "order moved" : "order", "data-order": order.id, "data-status": order.status },
    element(
      "p",
      { class: "head" },
      element("span", { class: "name" }, order.order_no),
      element("span", { class: "status" }, order.status),
    ),
    element("p", { class: "goods" }, goods),
    element("p", { class: "pale" }, `${order.total.amount} ${order.total.currency}, `, timeOf(order.changedAt ?? order.placed_at)),
    way(order.status),
  );
}

// How far it has come, for the eye: the word stands above.
function way(status) {
  const reached = WAY.indexOf(status);
  const steps = WAY.map((step, place) => element("span", { "data-reached": String(place <= reached) }));
  return element("div", { class: "way", "aria-hidden": "true" }, ...(reached < 0 ? [] : steps));
}

// The events of a stream (HTML standard, 9.2), until it ends. What is silent for too long is given up.
async function* eventsOf(body, silent) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  let timer;
  try {
    for (;;) {
      timer = setTimeout(() => silent.abort(), SILENT_MS);
      const { value, done } = await reader.read();
      clearTimeout(timer);
      if (done) return;
      const blocks = (text + value).split("\n\n");
      text = blocks.pop();
      for (const block of blocks) {
        const fields = block.split("\n").map((line) => /^(\w+): ?(.*)$/.exec(line)).filter(Boolean);
        const data = fields.filter(([, name]) => name === "data").map(([, , part]) => part).join("\n");
        if (data) yield { name: fields.find(([, name]) => name === "event")?.[2], data };
      }
    }
  } finally {
    clearTimeout(timer);
    reader.cancel().catch(() => {});
  }
}
