// Charts: a line under the pointer, the finger or the arrow keys, and a box with the time and all values there. They come
// from the chart's table. Sections are replaced while a page is open, so events are delegated and the line is restored.
let shown = null; // { id, index }

function rowsOf(plot) { return [...plot.closest(".chart").querySelectorAll(".chart-table tbody tr")]; }

function hide() {
  shown = null;
  for (const line of document.querySelectorAll(".chart-hover")) line.remove();
}

function show(plot, index) {
  const rows = rowsOf(plot);
  const row = rows[index];
  if (!row) return;
  const id = plot.closest(".chart").dataset.chart;
  if (shown?.id !== id) hide();
  shown = { id, index };
  let line = plot.querySelector(".chart-hover");
  if (!line) {
    line = document.createElement("div");
    line.className = "chart-hover";
    const box = document.createElement("p");
    box.className = "chart-box";
    box.setAttribute("role", "status");
    line.append(box);
    plot.append(line);
  }
  const heads = [...row.closest("table").tHead.rows[0].cells].map((cell) => cell.textContent);
  const [time, ...values] = [...row.cells].map((cell) => cell.textContent);
  const head = document.createElement("b");
  head.textContent = `${time} UTC`;
  const lines = values.map((value, i) => `${heads[i + 1]}: ${value}`);
  if (row.dataset.mark) lines.push(row.dataset.mark);
  line.firstChild.replaceChildren(head, ...lines.map((text) => {
    const span = document.createElement("span");
    span.textContent = text;
    return span;
  }));
  const share = (index + 0.5) / rows.length;
  line.style.left = `${share * 100}%`;
  line.classList.toggle("left", share > 0.5);
}

function point(event) {
  const plot = event.target.closest?.(".chart-plot");
  if (!plot) {
    if (shown && !document.activeElement?.matches(".chart-plot")) hide();
    return;
  }
  const { left, width } = plot.getBoundingClientRect();
  const count = rowsOf(plot).length;
  show(plot, Math.min(count - 1, Math.max(0, Math.floor((event.clientX - left) / width * count))));
}

document.addEventListener("pointermove", point);
document.addEventListener("pointerdown", point);
document.addEventListener("pointerleave", hide);
document.addEventListener("focusout", (event) => { if (event.target.matches?.(".chart-plot")) hide(); });
document.addEventListener("keydown", (event) => {
  const plot = event.target.closest?.(".chart-plot");
  if (!plot || event.ctrlKey || event.metaKey || event.altKey) return;
  const last = rowsOf(plot).length - 1;
  const index = shown?.id === plot.closest(".chart").dataset.chart ? shown.index : null;
  const to = {
    ArrowLeft: index === null ? last : Math.max(0, index - 1),
    ArrowRight: index === null ? 0 : Math.min(last, index + 1),
    Home: 0,
    End: last,
  }[event.key];
  if (event.key === "Escape") hide();
  if (to === undefined) return;
  event.preventDefault();
  show(plot, to);
});

window.whenShown((root) => {
  if (!shown) return;
  const plot = root.querySelector(`.chart[data-chart="${CSS.escape(shown.id)}"] .chart-plot`);
  if (plot) show(plot, shown.index);
});
