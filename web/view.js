// Opens workflows from the templates as large as their files say.
//
// The front end shows a template in the middle of the screen at three quarters of the size that would fit: so small on a
// screen of 1440x900 that the classic canvas writes no text.  Files that are opened keep their own view.
import { app } from "../../scripts/app.js";

const OURS = "LTXDuo";
const LAID_OUT_FOR = [1440, 900]; // on a smaller screen all of it is seen only as the front end shows it
const FRAMES = 30; // in which the front end sets the view, if it does: not when a step is undone

let opening = null;

function showAsSaved({ saved, before }, frames) {
  const view = app.canvas.ds;
  if (view.scale === before) {
    if (frames > 0) requestAnimationFrame(() => showAsSaved({ saved, before }, frames - 1));
  } else if (view.scale < saved.scale) {
    view.scale = saved.scale;
    view.offset[0] = saved.offset[0];
    view.offset[1] = saved.offset[1];
    app.canvas.setDirty(true, true);
  }
}

app.registerExtension({
  name: "ltxduo.View",

  beforeConfigureGraph(graph) {
    const saved = graph?.extra?.ds;
    const ours = graph?.nodes?.some((node) => node.type?.startsWith(OURS));
    opening = saved?.offset && ours ? { saved, before: app.canvas.ds.scale } : null;
  },

  afterConfigureGraph() {
    const room = window.innerWidth >= LAID_OUT_FOR[0] && window.innerHeight >= LAID_OUT_FOR[1];
    if (opening && room) showAsSaved(opening, FRAMES);
    opening = null;
  },
});
