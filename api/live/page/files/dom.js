// Elements: found by their id, made, and filled with text. Nothing here or elsewhere makes markup of a text.

export const $ = (id) => document.getElementById(id);

// element("p", {class: "pale"}, "some text", anotherElement)
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  made.append(...children);
  return made;
}

export function button(text, press) {
  const made = element("button", { type: "button", class: "quiet" }, text);
  made.addEventListener("click", press);
  return made;
}

// An alarm is read out as it appears; without words there is none.
export function tell(id, words = "") {
  $(id).textContent = words;
  $(id).hidden = !words;
}

// What the form's button does, once at a time, and what went wrong with it in words.
export function onSubmit(id, alarm, work) {
  const form = $(id);
  const press = form.querySelector("button:not([type])");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (press.disabled) return;
    press.disabled = true;
    tell(alarm);
    try {
      await work(new FormData(form), form);
    } catch (error) {
      tell(alarm, error.message);
    } finally {
      press.disabled = false;
    }
  });
}

const TIME = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const DAY_AND_TIME = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

export function timeOf(at) {
  const when = new Date(at);
  const today = when.toDateString() === new Date().toDateString();
  return element("time", { datetime: at, title: DAY_AND_TIME.format(when) }, (today ? TIME : DAY_AND_TIME).format(when));
}
