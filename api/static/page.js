// What the page does besides: it works without any of this.
import { follow } from "./follow.js";
import { local } from "./local.js";
import { keys } from "./keys.js";
import { live } from "./live.js";
import { opened, visits } from "./visit.js";

document.documentElement.classList.add("js");
local(document);

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const told = button.querySelector("span");
  await navigator.clipboard.writeText(button.dataset.copy);
  told.textContent = "Copied";
  setTimeout(() => { told.textContent = "Copy"; }, 2000);
});

const wait = document.querySelector("[data-wait] b");
if (wait) {
  const timer = setInterval(() => {
    wait.textContent = Math.max(0, wait.textContent - 1);
    if (wait.textContent === "0") clearInterval(timer);
  }, 1000);
}

const job = document.querySelector("[data-job]");
if (job) follow(job);

if (document.body.classList.contains("app")) {
  keys();
  if (document.body.classList.contains("mail")) {
    visits();
    live();
    opened();
  }
}
