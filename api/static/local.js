// Moments in the zone of this machine, where the account names none. As api/shown.py writes them.
const day = (at) => at.toDateString();
const text = (at, options) => new Intl.DateTimeFormat("en-GB", options).format(at);
const clock = { hour: "2-digit", minute: "2-digit" };

export function local(root) {
  const now = new Date();
  for (const each of root.querySelectorAll("time[data-local]")) {
    const at = new Date(each.dateTime);
    const year = at.getFullYear() === now.getFullYear() ? {} : { year: "numeric" };
    const full = text(at, { weekday: "long", day: "numeric", month: "long", year: "numeric" })
      .replace(/^(\w+) /, "$1, ") + ", " + text(at, clock);
    each.title = full;
    if (each.dataset.local === "full") each.textContent = full;
    else if (day(at) === day(now)) each.textContent = text(at, clock);
    else each.textContent = text(at, { day: "numeric", month: "short", ...year });
  }
}
