// Live pages: the server sends the sections that changed. A section that has the focus or a selection is replaced later, so that
// users do not lose their place.
function keepUpToDate(line) {
  const [status, since, button] = [line.querySelector("[role=status]"), line.querySelector(".since"), line.querySelector("button")];
  const waiting = new Map();
  let source = null;
  let at = 0;

  const busy = (section) =>
    section.contains(document.activeElement) || section.querySelector(":checked[type=checkbox]") ||
    (!document.getSelection().isCollapsed && document.getSelection().containsNode(section, true));

  const replace = (section, html) => {
    const scrolled = [...section.querySelectorAll(".scroll")].map((e) => e.scrollLeft);
    const open = [...section.querySelectorAll("details")].map((e) => e.open);
    section.innerHTML = html;
    section.querySelectorAll(".scroll").forEach((e, i) => { e.scrollLeft = scrolled[i] || 0; });
    section.querySelectorAll("details").forEach((e, i) => { if (i < open.length) e.open = open[i]; });
    window.shown(section);
  };

  const lost = () => document.querySelector("#frame-banner .lost") !== null;

  const replaceWaiting = () => {
    for (const [id, html] of waiting) {
      const section = document.getElementById(id);
      if (busy(section)) continue;
      waiting.delete(id);
      replace(section, html);
    }
    const attention = document.querySelector("#frame-nav nav")?.dataset.attention;
    const title = document.title.replace(/^\(\d+\) /, "");
    const wanted = attention ? `(${attention}) ${title}` : title;
    if (document.title !== wanted) document.title = wanted;
  };

  const say = (text) => {
    if (status.textContent !== text) status.textContent = text;
    line.classList.toggle("is-live", text === "Live");
    line.classList.toggle("is-lost", text !== "Live" && text !== "Paused");
    document.body.classList.toggle("not-current", text !== "Live" && text !== "Paused");
  };

  const sayHowOld = () => {
    const seconds = at ? Math.round((Date.now() - at) / 1000) : 0;
    const text = source && at && !lost() ? `${seconds} s` : "";
    if (since.textContent !== text) since.textContent = text;
    if (source && at && seconds > 60 && status.textContent === "Live") say("Not connected, trying again");
  };

  const start = () => {
    source = new EventSource(line.dataset.live);
    source.onopen = () => say(lost() ? "No data" : "Live");
    source.onerror = (error) => {
      say("Not connected, trying again");
      // An error response of a proxy ends an EventSource.
      if (error.target.readyState === EventSource.CLOSED) setTimeout(() => { if (source === error.target) start(); }, 5000);
    };
    source.addEventListener("tick", () => {
      at = Date.now();
      say(lost() ? "No data" : "Live");
      sayHowOld();
    });
    source.onmessage = (message) => {
      const { id, html, stale } = JSON.parse(message.data);
      const section = document.getElementById(id);
      if (!section) return;
      section.classList.toggle("stale", Boolean(stale));
      if (html) waiting.set(id, html);
      replaceWaiting();
    };
  };

  const stop = () => {
    source.close();
    source = null;
    say("Paused");
    sayHowOld();
  };

  button.addEventListener("click", () => {
    if (source) stop(); else start();
    button.setAttribute("aria-pressed", String(!source));
  });
  document.addEventListener("focusout", () => setTimeout(replaceWaiting));
  document.addEventListener("change", () => setTimeout(replaceWaiting));
  document.addEventListener("selectionchange", replaceWaiting);
  // A hidden page costs the server nothing.
  document.addEventListener("visibilitychange", () => {
    if (button.getAttribute("aria-pressed") === "true") return;
    if (document.hidden && source) { source.close(); source = null; }
    else if (!document.hidden && !source) start();
  });
  setInterval(sayHowOld, 1000);
  line.hidden = false;
  start();
}

for (const line of document.querySelectorAll("[data-live]")) keepUpToDate(line);

// The page says once what was done: not after a reload, and not in a copied link.
const address = new URL(location.href);
if (address.searchParams.has("done")) {
  address.searchParams.delete("done");
  history.replaceState(null, "", address);
}
