// How far a run of a collector is, until it is over.
const SEEN_MS = 1500;
const LATER_MS = 15000;

export function follow(element) {
  const bar = element.querySelector("progress"), far = element.querySelector("[data-far]");

  async function look() {
    let wait = LATER_MS;
    try {
      const answer = await fetch(`/api/jobs/${element.dataset.job}`);
      if (answer.status === 401 || answer.status === 404) return location.reload();
      if (answer.ok) {
        const { state, done, total } = await answer.json();
        if (state !== "queued" && state !== "running") return over();
        if (total) {
          bar.max = total;
          bar.value = done;
          far.textContent = `${done} of ${total}`;
        }
        wait = SEEN_MS;
      }
    } catch {
      far.textContent = "Not connected";
    }
    setTimeout(look, wait);
  }

  function over() {
    // What somebody is filling in stays.
    if (!document.querySelector(".settings :is(details[open], input:focus)")) return location.reload();
    far.textContent = "It is over.";
    bar.value = bar.max;
  }

  setTimeout(look, SEEN_MS);
}
