// Other scripts register what they do with new content: it runs for the document now, and for each section that is
// replaced later.
const registered = [];
window.whenShown = (prepare) => {
  registered.push(prepare);
  prepare(document);
};
window.shown = (root) => { for (const prepare of registered) prepare(root); };
