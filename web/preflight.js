// Shows what LTX Duo's preflight found likely wrong with a prompt that was just queued.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const SECONDS_SHOWN = 20;

app.registerExtension({
  name: "ltxduo.Preflight",
  setup() {
    api.addEventListener("ltx_duo.preflight", ({ detail }) => {
      for (const { node, title, text } of detail.warnings) {
        app.extensionManager.toast.add({
          severity: "warn",
          summary: `${title} (${node})`,
          detail: text,
          life: 1000 * SECONDS_SHOWN,
        });
      }
    });
  },
});
