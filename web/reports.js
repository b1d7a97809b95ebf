// Keeps what a node told of its run on the node: ComfyUI itself shows it only while the job runs.
//
// The text lies in the node's properties, so that it comes back with the workflow.  It is no change of the workflow and
// no part of what is queued: a film would carry the report of the run before its own.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const OURS = "LTXDuo";
const PROPERTY = "ltx_duo_report";
const WIDGET = "ltx_duo_report";
const WHILE_RUNNING = "$$node-text-preview"; // the front end's own widget,
const PREVIEW = "$$canvas-image-preview"; // and this one: pictures stay below the text
const LEAST_HEIGHT = 58; // as high as that one
const ENDS = ["execution_success", "execution_error", "execution_interrupted"];
const QUEUEING_MS = 1000; // at most, until the front end has taken down what it queues

let queueing = false;
let running = null; // the node of ours that was the last to begin

const isOurs = (node) => node?.type?.startsWith(OURS);

function removeWidget(node, name) {
  const widget = node.widgets?.find((widget) => widget.name === name);
  if (widget) node.removeWidget(widget);
}

function show(node, text) {
  removeWidget(node, WIDGET);
  if (!text) return;
  const element = document.createElement("div");
  element.textContent = text;
  element.className = "ltx-duo-report";
  Object.assign(element.style, {
    boxSizing: "border-box",
    minHeight: "28px",
    padding: "4px 8px",
    overflowY: "auto",
    whiteSpace: "pre-wrap",
    overflowWrap: "anywhere",
    fontSize: "12px",
    lineHeight: "1.3",
    color: "var(--input-text, #ddd)",
    userSelect: "text",
  });
  const options = { serialize: false, hideOnZoom: false, margin: 2, getMinHeight: () => LEAST_HEIGHT };
  const widget = node.addDOMWidget(WIDGET, "ltx_duo_report", element, options);
  widget.serialize = false;
  widget.beforeQueued = () => {
    queueing = true;
    setTimeout(() => (queueing = false), QUEUEING_MS);
  };
  widget.afterQueued = () => (queueing = false);
  const preview = node.widgets.findIndex((widget) => widget.name === PREVIEW);
  if (preview >= 0) node.widgets.splice(preview, 0, ...node.widgets.splice(node.widgets.indexOf(widget), 1));
}

// The front end compares the graph with these states to know whether it was changed.
function tellTracker(node, text) {
  const tracker = app.extensionManager?.workflow?.activeWorkflow?.changeTracker;
  for (const state of new Set([tracker?.activeState, tracker?.initialState])) {
    const graphs = [state, ...(state?.definitions?.subgraphs ?? [])];
    const graph = graphs.find((graph) => graph?.id === node.graph?.id) ?? state;
    const saved = graph?.nodes?.find((saved) => String(saved.id) === String(node.id) && saved.type === node.type);
    if (!saved) continue;
    saved.properties ??= {};
    write(saved.properties, text);
  }
}

function write(properties, text) {
  if (text) properties[PROPERTY] = text;
  else delete properties[PROPERTY];
}

function keep(node, text) {
  write(node.properties, text);
  tellTracker(node, text);
  show(node, text);
  node.setDirtyCanvas?.(true, true);
}

// An execution id names a node through the subgraphs around it: "5:12".
function nodeOf(executionId) {
  let graph = app.rootGraph ?? app.graph;
  let node;
  for (const id of String(executionId).split(":")) {
    node = graph?.getNodeById(id) ?? graph?.getNodeById(Number(id));
    graph = node?.subgraph;
  }
  return node;
}

function* allNodes(graph) {
  for (const node of graph?.nodes ?? graph?._nodes ?? []) {
    yield node;
    if (node.subgraph) yield* allNodes(node.subgraph);
  }
}

function after(prototype, method, action) {
  const before = prototype[method];
  prototype[method] = function (...values) {
    const result = before?.apply(this, values);
    action(this, ...values);
    return result;
  };
}

app.registerExtension({
  name: "ltxduo.Reports",

  setup() {
    api.addEventListener("executing", ({ detail }) => {
      const node = detail != null ? nodeOf(detail) : null;
      if (running && running !== node) removeWidget(running, WHILE_RUNNING); // what it did last it does no more
      running = isOurs(node) ? node : null;
      if (running) keep(running, null); // another run, another report
    });
    for (const end of ENDS)
      api.addEventListener(end, () => {
        for (const node of allNodes(app.rootGraph ?? app.graph)) if (isOurs(node)) removeWidget(node, WHILE_RUNNING);
      });
  },

  beforeRegisterNodeDef(nodeType, nodeData) {
    if (!nodeData.name.startsWith(OURS)) return;
    after(nodeType.prototype, "onExecuted", (node, output) => {
      removeWidget(node, WHILE_RUNNING);
      keep(node, output?.text?.join("\n"));
    });
    after(nodeType.prototype, "onSerialize", (node, saved) => {
      if (!queueing || !saved.properties) return;
      saved.properties = { ...saved.properties };
      delete saved.properties[PROPERTY];
    });
    after(nodeType.prototype, "onConfigure", (node) => show(node, node.properties?.[PROPERTY]));
  },
});
