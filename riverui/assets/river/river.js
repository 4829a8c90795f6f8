"use strict";
// The frame around River UI: keeps below the bar what River UI fixes to the top, hides changes from viewers, and says when the
// database is lost.
const bar = document.getElementById("iuworker");
const banner = document.getElementById("iuworker-banner");

new ResizeObserver(() => {
  document.documentElement.style.setProperty("--iuworker-bar", `${bar.offsetHeight}px`);
}).observe(bar);

// The server refuses a viewer's changes; their buttons are not shown either.
const changes = /^(Retry|Cancel|Delete|Pause|Resume)\b/;
function hideChanges() {
  for (const button of document.querySelectorAll("#root button:not([aria-haspopup])")) {
    const label = (button.title || button.textContent).trim();
    if (changes.test(label)) button.setAttribute("data-iuworker-change", "");
  }
}

const environment = bar.dataset.environment;
function nameTitle() {
  if (environment && !document.title.startsWith(environment)) document.title = `${environment} · ${document.title}`;
}

new MutationObserver(() => {
  if ("viewer" in bar.dataset) hideChanges();
  nameTitle();
}).observe(document.documentElement, { childList: true, subtree: true });

// River UI gives up on a database that is away, and shows an empty page before: the banner says why. When the database is
// back, a page that gave up is loaded again.
const gaveUp = () => /Something went wrong/.test(document.getElementById("root").innerText) || !document.querySelector("#root *");
async function look() {
  if (document.hidden) return;
  try {
    const response = await fetch(`${bar.dataset.base}/riverui/banner`);
    if (!response.ok) return;
    const html = (await response.text()).trim();
    const wasLost = banner.childElementCount > 0;
    if (html !== banner.innerHTML.trim()) banner.innerHTML = html;
    if (wasLost && html === "" && gaveUp()) location.reload();
  } catch { /* the worker is away: River UI says so itself */ }
}
setInterval(look, 3000);
document.addEventListener("click", (event) => {
  for (const open of bar.querySelectorAll("details[open]")) if (!open.contains(event.target)) open.open = false;
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") for (const open of bar.querySelectorAll("details[open]")) open.open = false;
});
