// Asks now and then whether something has changed: seldom where nobody looks.
import { bar, caughtUp, unread, visit } from "./visit.js";

const SEEN_MS = 10000;
const HIDDEN_MS = 60000;
let timer = 0;

async function look() {
  clearTimeout(timer);
  timer = setTimeout(look, document.hidden ? HIDDEN_MS : SEEN_MS);
  let answer;
  try {
    const version = document.querySelector("#main").dataset.version;
    answer = await fetch(`/live?version=${version}`, { headers: { Accept: "application/json" } });
  } catch {
    const at = new Date().toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
    if (document.querySelector("#bar").hidden) bar(`Not connected since ${at}.`);
    return;
  }
  if (answer.status === 401) location.href = "/login";
  if (!answer.ok) return;
  await caughtUp();
  const told = await answer.json();
  const main = document.querySelector("#main");
  if (String(told.version) === main.dataset.version) return;
  unread(told.unread);
  await visit(location.href, { push: false, quiet: true });
}

export function live() {
  timer = setTimeout(look, SEEN_MS);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
  addEventListener("online", look);
}
