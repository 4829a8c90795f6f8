// Copying, keys, selections, and buttons that are pressed once.
window.whenShown((root) => {
  for (const button of root.querySelectorAll("button.copy[hidden]")) button.hidden = false;
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest?.("button.copy");
  if (!button) return;
  const text = button.dataset.copy;
  try {
    await navigator.clipboard.writeText(text);
  } catch { // without TLS there is no clipboard, but there is a selection
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "unseen";
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    button.focus();
  }
  const label = button.textContent;
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = label; }, 1200);
});

// "Select all" of a form, and the number that its buttons act on.
const counted = (form) => {
  const boxes = [...form.querySelectorAll("input[type=checkbox][name]")];
  const chosen = boxes.filter((b) => b.checked).length;
  for (const all of form.querySelectorAll("[data-check-all]")) {
    all.checked = chosen > 0 && chosen === boxes.length;
    all.indeterminate = chosen > 0 && chosen < boxes.length;
  }
  for (const button of form.querySelectorAll("[data-needs-selection]")) button.disabled = chosen === 0;
  for (const count of form.querySelectorAll("[data-selected]")) count.textContent = chosen ? `${chosen} selected` : "";
};
document.addEventListener("change", (event) => {
  const form = event.target.form;
  if (!form) return;
  if (event.target.matches("[data-check-all]")) {
    for (const box of form.querySelectorAll("input[type=checkbox][name]")) box.checked = event.target.checked;
  }
  if (event.target.type === "checkbox") counted(form);
});
window.whenShown((root) => {
  for (const all of root.querySelectorAll("[data-check-all]")) if (all.form) counted(all.form);
});

// A form that changes something shows that it is busy, and cannot be sent twice.
document.addEventListener("submit", (event) => {
  const button = event.submitter;
  if ((button?.getAttribute("formmethod") || event.target.method) !== "post") return;
  if (!button || event.target.dataset.sent) { event.preventDefault(); return; }
  event.target.dataset.sent = "true";
  if (button.dataset.busy) button.textContent = button.dataset.busy;
  button.setAttribute("aria-busy", "true");
});
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});

// Keys: / goes to the search, g and a letter to a page, and r presses the page's button data-key-button="r".
let going = 0;
document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]")) return;
  const find = document.getElementById("find");
  if (event.key === "/" && find) {
    event.preventDefault();
    find.focus();
    find.select();
  } else if (event.key === "g") {
    going = Date.now();
  } else if (Date.now() - going < 1500) {
    going = 0;
    document.querySelector(`nav.all a[data-key="${CSS.escape(event.key)}"]`)?.click();
  } else {
    document.querySelector(`button[data-key-button="${CSS.escape(event.key)}"]:not(:disabled)`)?.click();
  }
});
document.querySelector("nav.bar a[href='#find']")?.addEventListener("click", () => setTimeout(() => document.getElementById("find").focus()));
