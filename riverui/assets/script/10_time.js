// Times: the server writes them in UTC. The page shows ages ("3 min ago"), UTC or local time, as the user last chose. A click on
// a time shows all three.
const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
const modes = { age: "Ages", utc: "UTC", local: "Local time" };

const remembered = () => { try { return localStorage.getItem("times"); } catch { return null; } };
let mode = remembered() in modes ? remembered() : "age";

function age(moment) {
  const seconds = Math.round((Date.now() - moment) / 1000);
  const [length, unit] = units.find(([length]) => Math.abs(seconds) >= length) || units[3];
  const n = Math.floor(Math.abs(seconds) / length);
  return seconds < 0 ? `in ${n} ${unit}` : `${n} ${unit} ago`;
}

const two = (n) => String(n).padStart(2, "0");
const utc = (d) => `${d.toISOString().slice(0, 19).replace("T", " ")} UTC`;
const local = (d) => `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ` +
  `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;

function showTimes(root) {
  for (const time of root.querySelectorAll("time[data-ago]")) {
    const moment = new Date(time.dateTime);
    const text = mode === "age" ? age(moment) : mode === "utc" ? utc(moment) : local(moment);
    if (time.textContent !== text) time.textContent = text;
  }
}

window.whenShown(showTimes);
setInterval(() => { if (mode === "age") showTimes(document); }, 1000);

const toggle = document.querySelector("button.times");
const label = () => {
  toggle.textContent = modes[mode];
  toggle.title = "How times are shown; click to change";
};
toggle.hidden = false;
label();
toggle.addEventListener("click", () => {
  const names = Object.keys(modes);
  mode = names[(names.indexOf(mode) + 1) % names.length];
  try { localStorage.setItem("times", mode); } catch { /* it lasts as long as the page */ }
  label();
  showTimes(document);
});

// The box has all three forms; a click copies one.
const box = document.createElement("div");
box.className = "moment";
box.hidden = true;
document.body.append(box);
document.addEventListener("click", (event) => {
  const time = event.target.closest?.("time[datetime]");
  if (!time) {
    if (!box.contains(event.target)) box.hidden = true;
    return;
  }
  if (time.closest("a, button, summary")) return;
  const moment = new Date(time.dateTime);
  box.replaceChildren(...[time.dateTime, local(moment), age(moment)].map((text) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.dataset.copy = text;
    button.textContent = text;
    return button;
  }));
  box.hidden = false;
  const at = time.getBoundingClientRect();
  box.style.left = `${Math.max(4, Math.min(at.left, innerWidth - box.offsetWidth - 4)) + scrollX}px`;
  box.style.top = `${at.bottom + scrollY + 2}px`;
});
document.addEventListener("keydown", (event) => { if (event.key === "Escape") box.hidden = true; });
