// How long to wait.

export const pause = (ms) => new Promise((done) => setTimeout(done, ms));

// Before the next try: longer each time, and not all clients at the same moment.
export const backoff = (attempts) => Math.min(5_000, 250 * 2 ** attempts) * (0.5 + Math.random() / 2);
