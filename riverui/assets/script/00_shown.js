// Other scripts register functions that prepare new content. They run for the document now, and for each section when it is
// replaced.
const registered = [];
window.whenShown = (prepare) => {
  registered.push(prepare);
  prepare(document);
};
window.shown = (root) => { for (const prepare of registered) prepare(root); };
