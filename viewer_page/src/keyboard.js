// Keys, and the table of them in the help.

/** Rows of the help: a meaning, and for each key its name there, its name in events, and what it does. */
const KEYS = [
  ["Play or pause", ["Space", " ", (a) => a.playOrPause()]],
  ["One frame back or forward", ["←", "ArrowLeft", (a) => a.step(-1)], ["→", "ArrowRight", (a) => a.step(1)]],
  [
    "One second back or forward",
    ["Shift ←", "Shift+ArrowLeft", (a) => a.jump(-1)],
    ["Shift →", "Shift+ArrowRight", (a) => a.jump(1)],
  ],
  ["First or last frame", ["Home", "Home", (a) => a.seek(0)], ["End", "End", (a) => a.seek(Infinity)]],
  ["Slower or faster", [",", ",", (a) => a.faster(-1)], [".", ".", (a) => a.faster(1)]],
  [
    "View: overview, front, side, top, through the camera",
    ...["overview", "front", "side", "top", "camera"].map((view, i) => [`${i + 1}`, `${i + 1}`, (a) => a.setView(view)]),
  ],
  ["Previous or next person", ["↑", "ArrowUp", (a) => a.chooseNext(-1)], ["↓", "ArrowDown", (a) => a.chooseNext(1)]],
  ["Follow the chosen person", ["F", "f", (a) => a.follow()]],
  ["Show or hide the chosen person", ["H", "h", (a) => a.toggle()]],
  ["Show only the chosen person, or everybody", ["O", "o", (a) => a.showOnlyChosen()], ["A", "a", (a) => a.showAll()]],
  [
    "Labels, grid, filming camera, path, boxes in the video",
    ["L", "l", (a) => a.show("labels")],
    ["G", "g", (a) => a.show("grid")],
    ["C", "c", (a) => a.show("frustum")],
    ["P", "p", (a) => a.show("path")],
    ["B", "b", (a) => a.show("boxes")],
  ],
  ["Light or dark", ["T", "t", (a) => a.theme()]],
  ["This help", ["?", "?", (a) => a.help()]],
];

export function listenToKeys(actions) {
  const actionOf = new Map(KEYS.flatMap(([, ...keys]) => keys.map(([, key, action]) => [key, action])));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("select")) return;
    if (event.key === " " && event.target.matches("button:focus-visible")) return; // it presses the button
    if (document.querySelector("dialog[open]") && event.key !== "?") return;
    const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const action = actionOf.get(event.shiftKey && name.length > 1 ? `Shift+${name}` : name);
    if (!action) return;
    event.preventDefault();
    action(actions);
  });
  const rows = KEYS.map(([meaning, ...keys]) => {
    const row = document.createElement("tr");
    const cell = document.createElement("td");
    for (const [name] of keys) cell.append(Object.assign(document.createElement("kbd"), { textContent: name }), " ");
    row.append(cell, Object.assign(document.createElement("td"), { textContent: meaning }));
    return row;
  });
  document.querySelector("#keys").replaceChildren(...rows);
}
