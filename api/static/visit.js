// Lists and messages change in place: the server renders, this puts its parts where they belong.
import { local } from "./local.js";

const UNDO_MS = 10000;
const waiting = [];
let since = new Date(), catching = null, turns = 0, shown = 0;

const $ = (selector, root = document) => root.querySelector(selector);
const row = (id) => id && $(`.row[data-id="${id}"]`);

export function say(text) {
  $("#say").textContent = text;
}

export function bar(text) {
  const element = $("#bar");
  element.textContent = text;
  element.hidden = !text;
}

function ask(url, body) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(body ? "POST" : "GET", url);
    request.responseType = "document";
    request.setRequestHeader("Accept", "text/html");
    if (body) request.setRequestHeader("Content-Type", "application/x-www-form-urlencoded");
    request.onload = () => resolve(request);
    request.onerror = request.ontimeout = reject;
    request.timeout = 30000;
    request.send(body);
  });
}

function trouble(request, url, body) {
  if (body) waiting.push([url, body]);
  const queue = waiting.length ? ` ${waiting.length} to do when it is back.` : "";
  if (request && request.status === 429) {
    countdown(Number(request.getResponseHeader("Retry-After")) || 60, queue);
  } else {
    const at = since.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
    bar(`Not connected. Last update ${at}.${queue}`);
  }
}

let counting = 0;
function countdown(seconds, queue) {
  clearInterval(counting);
  const tick = () => {
    bar(seconds > 0 ? `That was a lot at once. It goes on in ${seconds} s.${queue}` : "");
    if (seconds-- <= 0) {
      clearInterval(counting);
      caughtUp();
    }
  };
  tick();
  counting = setInterval(tick, 1000);
}

// Called when the server answers again. What waits is sent once, however many ask for it.
export function caughtUp() {
  return catching ??= catchUp().finally(() => { catching = null; });
}

async function catchUp() {
  since = new Date();
  if (counting && !$("#bar").hidden && $("#bar").textContent.includes("goes on in")) return;
  bar("");
  if (!waiting.length) return;
  while (waiting.length) {
    const [url, body] = waiting[0];
    try {
      const request = await ask(url, body);
      if (request.status === 429) return;
    } catch {
      return;
    }
    waiting.shift();
  }
  visit(location.href, { push: false, quiet: true });
}

export async function visit(url, { body = null, push = true, quiet = false } = {}) {
  const turn = ++turns;
  let request;
  try {
    request = await ask(url, body);
  } catch {
    return trouble(null, url, body);
  }
  const page = request.response;
  if (request.status === 429 || request.status >= 502) return trouble(request, url, body);
  if (!page || !page.body.classList.contains("mail")) {
    location.href = body ? location.href : request.responseURL;
    return;
  }
  caughtUp();
  // Answers overtake each other. An older one takes the place of none that was asked for later,
  // and what the page has asked for by itself, of nothing that somebody did meanwhile.
  if (turn < shown || (quiet && turn !== turns)) return;
  shown = turn;
  if (!quiet) turns++;
  show(page, quiet);
  if (push && request.responseURL !== location.href) {
    history.pushState(null, "", request.responseURL);
  }
  opened(quiet);
}

function show(page, quiet) {
  local(page);
  const focused = document.activeElement?.closest?.(".row")?.dataset.id;
  const inList = Boolean(focused);
  const star = document.activeElement?.classList.contains("star");
  const picked = new Set([...document.querySelectorAll(".pick:checked")].map((each) => each.value));
  const list = $("#list"), scroll = list.scrollTop, page_scroll = scrollY;
  const same = $("#main").dataset.context === $("#main", page).dataset.context;
  const toast = $("#toast", page) || (quiet && $("#toast"));
  const before = $("#message"), after = $("#message", page);
  const frame = before && after && $("iframe", before);
  if (frame && frame.getAttribute("src") === $("iframe", after)?.getAttribute("src")) {
    for (const part of [".tools", "header"]) {
      $(`#message > ${part}`).replaceWith($(`#message > ${part}`, page));
    }
    list.replaceWith($("#list", page));
    $("#acts").replaceWith($("#acts", page));
    $("#main").dataset.version = $("#main", page).dataset.version;
  } else {
    $("#acts").replaceWith($("#acts", page));
    $("#main").replaceWith($("#main", page));
  }
  if ($("#toast") !== toast) {
    $("#toast")?.remove();
    if (toast) $("#main").prepend(toast);
  }
  $("#side").replaceWith($("#side", page));
  $(".bottom").replaceWith($(".bottom", page));
  document.title = page.title;
  document.body.className = page.body.className;
  if (!quiet) $("#q").value = $("#q", page).value;
  if (same) {
    $("#list").scrollTop = scroll;
    if (quiet || !after) scrollTo(0, page_scroll);
  } else {
    scrollTo(0, 0);
  }
  if (quiet) {
    for (const each of document.querySelectorAll(".pick")) each.checked = picked.has(each.value);
    picking();
  }
  if (inList && row(focused) && $("#list").checkVisibility()) {
    $(star ? ".star" : ".open", row(focused)).focus({ preventScroll: true });
  } else if (!quiet) {
    if (after && !before) $("#subject").focus({ preventScroll: true });
    else if (!after) ($(".row .open") || $("#main")).focus({ preventScroll: true });
  }
  if (!quiet) say($("#toast p")?.textContent || document.title);
}

// What a shown message and a shown notice still need.
export function opened(quiet = false) {
  const message = $("#message");
  if (message && "unreadNow" in message.dataset) markRead(message);
  if (message && !quiet) row(message.dataset.id)?.scrollIntoView({ block: "nearest" });
  const toast = $("#toast");
  if (toast) {
    const place = new URL(location.href);
    for (const name of ["done", "ids", "was"]) place.searchParams.delete(name);
    history.replaceState(null, "", place);
    setTimeout(() => { if (!toast.matches(":hover, :focus-within")) toast.remove(); }, UNDO_MS);
  }
}

async function markRead(message) {
  delete message.dataset.unreadNow;
  const id = message.dataset.id;
  const body = new URLSearchParams({
    csrf_token: $("#acts [name=csrf_token]").value, act: `read:${id}`, back: "/",
  });
  try {
    await fetch("/m", { method: "POST", body, redirect: "manual" });
  } catch {
    return trouble(null, "/m", body.toString());
  }
  if (row(id)?.classList.contains("unread")) {
    row(id).classList.remove("unread");
    $(".open > .hidden", row(id))?.remove();
    unread(Math.max(0, parseInt($("[data-unread] span")?.textContent ?? "0", 10) - 1));
  }
  const button = $(`#message .tools [data-key="m"]`);
  if (button && $("#message").dataset.id === id) {
    button.value = `unread:${id}`;
    button.title = "Mark unread (m)";
    button.querySelector("span").textContent = "Mark unread";
  }
}

export function unread(count) {
  for (const each of document.querySelectorAll("[data-unread]")) {
    each.hidden = !count;
    each.firstElementChild.textContent = count;
  }
}

export function picking() {
  const picked = [...document.querySelectorAll(".pick:checked")].map((each) => each.value);
  $("#acts [name=ids]").value = picked.join(",");
  $("#bulk").hidden = !picked.length;
  $("#picked").textContent = picked.length ? `${picked.length} selected` : "";
}

export function visits() {
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href]");
    if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey
      || event.shiftKey || event.altKey || link.target || link.hasAttribute("download")) return;
    const url = new URL(link.href);
    if (url.origin !== location.origin || !/^\/(m\/\w+)?$/.test(url.pathname) || url.hash) return;
    event.preventDefault();
    visit(url.href);
  });
  document.addEventListener("submit", (event) => {
    const form = event.target;
    const data = new URLSearchParams(new FormData(form, event.submitter));
    if (form.action.endsWith("/m")) {
      event.preventDefault();
      const moved = event.submitter?.closest(".tools") && /^(archive|trash|inbox|delete)/.test(event.submitter.value);
      visit("/m", { body: data.toString(), push: moved || !$("#message") });
    } else if (form.classList.contains("search")) {
      event.preventDefault();
      visit(`/?${data}`);
    }
  });
  document.addEventListener("change", (event) => {
    if (event.target.classList.contains("pick")) picking();
  });
  addEventListener("popstate", () => visit(location.href, { push: false }));
}
