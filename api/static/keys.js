// Keys of one hand. Silent in fields, and where somebody has switched them off.
import { picking } from "./visit.js";

const NAME = "restante.keys";
const $ = (selector) => document.querySelector(selector);
let before = "";

const rows = () => [...document.querySelectorAll(".row .open")];

function move(step) {
  const all = rows();
  if (!all.length || !all[0].checkVisibility()) return;
  const here = document.activeElement?.closest?.(".row")?.querySelector(".open")
    || $('.row .open[aria-current]');
  const at = all.indexOf(here);
  const next = all[at < 0 ? 0 : Math.min(Math.max(at + step, 0), all.length - 1)];
  next.focus();
  next.scrollIntoView({ block: "nearest" });
}

function rowNow() {
  return document.activeElement?.closest?.(".row");
}

// A message that is open, else those selected, else the row with the focus.
function act(verb, key) {
  const shown = $("#message");
  if (shown && !$(".pick:checked") && !rowNow()) return $(`#message .tools [data-key="${key}"]`)?.click();
  if ($(".pick:checked")) return $(`#bulk [value="${verb}"]`)?.click();
  const row = rowNow();
  if (!row) return $(`#message .tools [data-key="${key}"]`)?.click();
  if (verb === "star") return row.querySelector(".star").click();
  const chosen = verb === "read" && !row.classList.contains("unread") ? "unread" : verb;
  const button = document.createElement("button");
  button.name = "act";
  button.value = `${chosen}:${row.dataset.id}`;
  button.hidden = true;
  const form = $("#acts");
  form.append(button);
  form.requestSubmit(button);
  button.remove();
}

const KEYS = {
  j: () => move(1),
  k: () => move(-1),
  u: () => $('#message [data-key="u"]')?.click(),
  e: () => act("archive", "e"),
  "#": () => act("trash", "#"),
  s: () => act("star", "s"),
  m: () => act("read", "m"),
  x: () => {
    const pick = rowNow()?.querySelector(".pick");
    if (pick) { pick.checked = !pick.checked; picking(); }
  },
  z: () => $('#toast [data-key="z"]')?.click(),
  c: () => $(".code-chip [data-copy]")?.click(),
  v: () => $('.views [data-key="v"]')?.click(),
  "/": () => $("#q").focus(),
  "?": () => { location.href = "/help"; },
};
const PLACES = { i: "/", a: "/addresses" };

export function keys() {
  const box = $("#keys-on");
  if (box) {
    box.checked = localStorage.getItem(NAME) !== "off";
    box.addEventListener("change", () => localStorage.setItem(NAME, box.checked ? "on" : "off"));
  }
  document.addEventListener("keydown", (event) => {
    const field = event.target.closest?.("input:not([type=checkbox]), select, textarea");
    if (field || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (localStorage.getItem(NAME) === "off") return;
    if (before === "g" && PLACES[event.key]) {
      before = "";
      location.href = PLACES[event.key];
      return;
    }
    before = event.key;
    const found = KEYS[event.key];
    if (found) {
      event.preventDefault();
      found();
    }
  });
}
