// What ComfyUI's own translation of nodes leaves out: titles of groups, notes, and choices.
//
// Only texts as shipped are translated, line by line: what somebody wrote stays.  Values stay what they are.
import { app } from "../../scripts/app.js";

const OURS = "LTXDuo";
const NOTE = "MarkdownNote";
let words = null;

const translated = (table, text) => (Object.hasOwn(table, text) ? table[text] : text);

function translateNote(note) {
  if (note.title) note.title = translated(words.titles, note.title);
  const [text] = note.widgets_values ?? [];
  if (typeof text !== "string") return;
  note.widgets_values[0] = text
    .split("\n")
    .map((line) => translated(words.lines, line))
    .join("\n");
}

app.registerExtension({
  name: "ltxduo.Chinese",

  async init() {
    if (app.extensionManager.setting.get("Comfy.Locale") !== "zh") return;
    const answer = await fetch(new URL("zh.json", import.meta.url));
    if (answer.ok) words = await answer.json();
    else console.error(`LTX Duo: no Chinese texts, the server answered ${answer.status}`);
  },

  beforeConfigureGraph(graph) {
    const nodes = graph.nodes ?? [];
    if (!words || !nodes.some((node) => node.type?.startsWith(OURS))) return;
    for (const group of graph.groups ?? []) group.title = translated(words.titles, group.title);
    for (const node of nodes) if (node.type === NOTE) translateNote(node);
  },

  nodeCreated(node) {
    if (!words || !node.comfyClass?.startsWith(OURS)) return;
    for (const widget of node.widgets ?? [])
      if (widget.type === "combo")
        widget.options.getOptionLabel = (value) => translated(words.choices, String(value ?? ""));
  },
});
