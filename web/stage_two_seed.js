// Greys the seed of LTX Stage Two Sampler while it is not used: its noise goes on from stage one's.
//
// A seed that is not used is not changed after a run either: stage two would run again for the same film.
import { app } from "../../scripts/app.js";

const STAGE_TWO = "LTXDuoStageTwoSampler";
const USED = "new seed";

const widgetOf = (node, name) => node.widgets?.find((widget) => widget.name === name);

function update(node) {
  const noise = widgetOf(node, "noise");
  const seed = widgetOf(node, "seed");
  if (!noise || !seed) return;
  const linked = node.inputs?.some((input) => input.widget?.name === "noise" && input.link != null);
  seed.disabled = !linked && noise.value !== USED;
}

function after(owner, method, action) {
  const before = owner[method];
  owner[method] = function (...values) {
    const result = before?.apply(this, values);
    action(this);
    return result;
  };
}

function unlessGreyed(seed, control, method) {
  const change = control[method];
  control[method] = function (...values) {
    if (!seed.disabled) return change?.apply(this, values);
  };
}

app.registerExtension({
  name: "ltxduo.StageTwoSeed",

  beforeRegisterNodeDef(nodeType, nodeData) {
    if (nodeData.name !== STAGE_TWO) return;
    // Added under an id that was used before, a widget takes the old one's greyness from the front end's store.
    after(nodeType.prototype, "onAdded", update);
    after(nodeType.prototype, "onConfigure", update);
    after(nodeType.prototype, "onConnectionsChange", update);
  },

  nodeCreated(node) {
    if (node.comfyClass !== STAGE_TWO) return;
    const noise = widgetOf(node, "noise");
    const seed = widgetOf(node, "seed");
    after(noise, "callback", () => update(node));
    for (const control of seed.linkedWidgets ?? [])
      for (const method of ["beforeQueued", "afterQueued"]) unlessGreyed(seed, control, method);
    update(node);
  },
});
