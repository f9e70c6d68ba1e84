// Who is signed in, and what they ask of the API. The tokens are nowhere but in this page's memory.

import { pause } from "./pace.js";

// A refusal in the words of the API, by the problem document (RFC 9457) that it answers with.
export class Refused extends Error {
  constructor(problem) {
    const findings = (problem.errors ?? []).map((finding) => finding.detail);
    super([...new Set([problem.detail ?? problem.title, ...findings])].join(" "));
    this.code = problem.code;
    this.status = problem.status;
  }
}

const AWAY = { code: "away", status: 0, detail: "The server does not answer. Please try again in a moment." };

async function send(path, request) {
  let response;
  try {
    response = await fetch(path, { ...request, credentials: "omit", cache: "no-store" });
  } catch (error) {
    throw error.name === "AbortError" ? error : new Refused(AWAY);
  }
  if (response.ok) return response;
  const fallback = { code: "unknown", status: response.status, detail: `The server answered ${response.status}.` };
  throw new Refused(await response.json().catch(() => fallback));
}

const posted = (body) => ({
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify(body),
});

export class Session extends EventTarget {
  #pair;
  #renewal;
  me;

  async signIn(username, password) {
    const body = new URLSearchParams({ grant_type: "password", username, password });
    this.#pair = await (await send("/v1/auth/token", { method: "POST", body })).json();
    this.me = await this.#patiently("/v1/me");
  }

  async register(email, username, password) {
    await send("/v1/accounts", posted({ email, username, password }));
    await this.signIn(username, password);
  }

  async signOut() {
    const pair = this.#pair;
    this.#end("");
    await send("/v1/auth/logout", posted({ refresh_token: pair.refresh_token })).catch(() => {});
  }

  get token() {
    return this.#pair?.access_token;
  }

  // What a path answers, as JSON. `after` is the token of a write that the answer must include.
  async read(path, after) {
    return (await this.ask(path, { headers: after ? { "Consistency-Token": after } : {} })).json();
  }

  // A command: its receipt, and the token by which reads include it. Asked again after a lost answer it is done once.
  async write(method, path, body) {
    const request = body === undefined ? { headers: {} } : posted(body);
    request.headers["Idempotency-Key"] = newId();
    const response = await this.ask(path, { ...request, method });
    return { ...(await response.json()), token: response.headers.get("Consistency-Token") };
  }

  async ask(path, request) {
    const used = this.token;
    try {
      return await send(path, this.#signed(request));
    } catch (refused) {
      if (refused.status !== 401) throw refused;
      await this.renew(used);
      return send(path, this.#signed(request));
    }
  }

  // A new access token in the place of the one that was used: once for all who find it too old at the same time.
  renew(used) {
    if (used !== this.token) return Promise.resolve();
    this.#renewal ??= this.#renew().finally(() => (this.#renewal = undefined));
    return this.#renewal;
  }

  async #renew() {
    try {
      this.#pair = await (await send("/v1/auth/refresh", posted({ refresh_token: this.#pair?.refresh_token }))).json();
    } catch (refused) {
      if (refused.status === 401) this.#end("Your session has ended. Please sign in again.");
      throw refused;
    }
  }

  #end(why) {
    this.#pair = undefined;
    this.dispatchEvent(new CustomEvent("ended", { detail: why }));
  }

  #signed(request) {
    return { ...request, headers: { ...request.headers, Authorization: `Bearer ${this.token}` } };
  }

  // An account that has just been made may take a moment to be readable.
  async #patiently(path) {
    for (let left = 10; ; left--) {
      try {
        return await this.read(path);
      } catch (refused) {
        if (refused.status !== 404 || !left) throw refused;
        await pause(300);
      }
    }
  }
}

// `crypto.randomUUID` is there by https and on this machine alone.
export const newId = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

// What a code means; known codes are not asked for again.
const kinds = new Map();
export async function problemKind(code) {
  if (!kinds.has(code)) kinds.set(code, await (await send(`/problems/${code}`, {})).json());
  return kinds.get(code);
}

// Whether the same, asked again, may well be answered.
export const isPassing = ({ status, code }) =>
  status === 0 || status === 429 || status >= 500 || code === "idempotency-key-in-flight";
