// Colours for the wires and slots of the pack's own types.
import { app } from "../../scripts/app.js";

const COLOURS = {
  LTXDUO_MODEL: "#8e7cff",
  LTXDUO_VAE: "#ff8a5c",
  LTXDUO_TEXT_ENCODER: "#e6d96a",
  LTXDUO_UPSAMPLER: "#4dd0c4",
  LTXDUO_CONDITIONS: "#7bd88f",
  LTXDUO_GUIDANCE: "#f06ca8",
};

// For Nodes 2.0.
function setVariable(type, colour) {
  document.documentElement.style.setProperty(`--color-datatype-${type}`, colour);
}

// A palette empties the colours of all types that it does not know, each time it is chosen; those it knows it may set.
function setLastingly(colours, type, colour) {
  Object.defineProperty(colours, type, {
    configurable: true,
    enumerable: true,
    get: () => colour,
    set(chosen) {
      colour = chosen || COLOURS[type];
      queueMicrotask(() => setVariable(type, colour)); // after the palette has emptied it
    },
  });
}

app.registerExtension({
  name: "ltxduo.Wires",

  setup() {
    for (const [type, colour] of Object.entries(COLOURS)) {
      setLastingly(app.canvas.constructor.link_type_colors, type, colour);
      setLastingly(app.canvas.default_connection_color_byType, type, colour);
      setVariable(type, colour);
    }
  },
});
