// The live event viewer: follows /v1/events as any client does, and shows the last events, the latest first.
const most = 200;

function followEvents(section) {
  const [status, list, empty] = [section.querySelector(".following"), section.querySelector(".received"), section.querySelector("[data-empty]")];
  const [count, place] = [section.querySelector("[data-received]"), section.querySelector("[data-cursor]")];
  const pause = section.querySelector("[data-pause]");
  let received = 0;
  let cursor = "";
  let source = null;

  const say = (text) => { if (status.textContent !== text) status.textContent = text; };
  const at = (id) => {
    if (!id) return;
    cursor = id;
    place.textContent = `at ${id}`;
  };

  const show = (message) => {
    received += 1;
    count.textContent = received === 1 ? "1 event" : `${received} events`;
    at(message.lastEventId);
    empty.hidden = true;
    const item = document.createElement("li");
    const details = document.createElement("details");
    const summary = document.createElement("summary");
    const pre = document.createElement("pre");
    let event = null;
    try { event = JSON.parse(message.data); } catch { /* shown as it is */ }
    summary.textContent = event
      ? `${event.time ?? ""} ${event.subject ?? event.data?.instance_key ?? ""} ${event.data?.template_key ?? ""} ${event.data?.actor ?? ""}`
      : message.lastEventId;
    pre.textContent = event ? JSON.stringify(event, null, 2) : message.data;
    details.append(summary, pre);
    const key = event?.data?.idempotency_key;
    if (key) {
      const link = document.createElement("a");
      link.href = `${section.dataset.base}/events/${encodeURIComponent(key)}`;
      link.textContent = "Its timeline";
      details.append(link);
    }
    item.append(details);
    list.prepend(item);
    while (list.children.length > most) list.lastElementChild.remove();
  };

  const start = () => {
    const url = new URL(section.dataset.events, location.href);
    if (cursor) { // continue after the last event
      for (const name of ["from", "since"]) url.searchParams.delete(name);
      url.searchParams.set("after", cursor);
    }
    const mine = source = new EventSource(url);
    say("Connecting…");
    mine.onopen = () => say("Following");
    mine.onmessage = show;
    mine.addEventListener("cursor", (message) => at(message.lastEventId));
    mine.onerror = () => {
      if (mine !== source) return;
      say("Not connected, trying again");
      // A refusal ends an EventSource: find out why, and retry.
      if (mine.readyState === EventSource.CLOSED) explain(url).then(() => setTimeout(() => { if (mine === source) start(); }, 5000));
    };
  };

  const explain = async (url) => {
    const abort = new AbortController();
    try {
      const response = await fetch(url, { headers: { Accept: "application/problem+json" }, signal: abort.signal });
      if (!response.ok) {
        const problem = await response.json();
        say(`Not connected: ${problem.detail ?? response.status}`);
      }
    } catch { /* the worker is away */ }
    abort.abort();
  };

  pause.addEventListener("click", () => {
    if (source) {
      source.close();
      source = null;
      say("Paused");
    } else {
      start();
    }
    pause.textContent = source ? "Pause" : "Continue";
    pause.setAttribute("aria-pressed", String(!source));
  });
  section.querySelector("[data-clear]").addEventListener("click", () => {
    list.replaceChildren();
    received = 0;
    count.textContent = "0 events";
    empty.hidden = false;
  });
  section.hidden = false;
  start();
}

for (const section of document.querySelectorAll("[data-events]")) {
  if (section.dataset.events) followEvents(section);
}
