"use strict";

// Ages: what the server wrote as a moment becomes "3 min ago".
const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

function age(moment) {
  const seconds = Math.round((Date.now() - moment) / 1000);
  const [length, unit] = units.find(([length]) => Math.abs(seconds) >= length) || units[3];
  const n = Math.floor(Math.abs(seconds) / length);
  return seconds < 0 ? `in ${n} ${unit}` : `${n} ${unit} ago`;
}

function showAges(root) {
  for (const time of root.querySelectorAll("time[data-ago]")) {
    const text = age(Date.parse(time.dateTime));
    if (time.textContent !== text) time.textContent = text;
  }
}

showAges(document);
setInterval(() => showAges(document), 1000);

// Live sections: the server sends those that changed. One that holds the focus or a selection is left alone until
// it does not, so that nobody loses their place.
function keepUpToDate(line) {
  const [status, button] = [line.querySelector("[role=status]"), line.querySelector("button")];
  const waiting = new Map();
  let source = null;

  const busy = (section) =>
    (section.contains(document.activeElement)) ||
    (!document.getSelection().isCollapsed && document.getSelection().containsNode(section, true));

  const replace = (section, html) => {
    const scrolled = [...section.querySelectorAll(".scroll")].map((e) => e.scrollLeft);
    section.innerHTML = html;
    section.querySelectorAll(".scroll").forEach((e, i) => { e.scrollLeft = scrolled[i] || 0; });
    showAges(section);
  };

  const replaceWaiting = () => {
    for (const [id, html] of waiting) {
      const section = document.getElementById(id);
      if (busy(section)) continue;
      waiting.delete(id);
      replace(section, html);
    }
  };

  const say = (text) => { if (status.textContent !== text) status.textContent = text; };

  const start = () => {
    source = new EventSource(line.dataset.live);
    source.onopen = () => say("Live");
    source.onerror = (error) => {
      say("Not connected, trying again");
      // A proxy that says that the server is away ends an EventSource.
      if (error.target.readyState === EventSource.CLOSED) setTimeout(() => { if (source === error.target) start(); }, 5000);
    };
    source.onmessage = (message) => {
      const { id, html } = JSON.parse(message.data);
      if (!document.getElementById(id)) return;
      waiting.set(id, html);
      replaceWaiting();
    };
  };

  const stop = () => {
    source.close();
    source = null;
    say("Paused");
  };

  button.addEventListener("click", () => {
    if (source) stop(); else start();
    button.setAttribute("aria-pressed", String(!source));
  });
  document.addEventListener("focusout", () => setTimeout(replaceWaiting));
  document.addEventListener("selectionchange", replaceWaiting);
  // A page that nobody sees costs the server nothing.
  document.addEventListener("visibilitychange", () => {
    if (button.getAttribute("aria-pressed") === "true") return;
    if (document.hidden && source) { source.close(); source = null; }
    else if (!document.hidden && !source) start();
  });
  line.hidden = false;
  start();
}

for (const line of document.querySelectorAll("[data-live]")) keepUpToDate(line);
