// Where things are on the screen, in pixels: the classic canvas has no page elements to ask.
window.screenPlaces = {
    point([x, y]) {
        const box = app.canvas.canvas.getBoundingClientRect();
        const [left, top] = app.canvas.ds.convertOffsetToCanvas([x, y]);
        return [left + box.left, top + box.top];
    },

    title(id) {
        const node = app.graph.getNodeById(id);
        return this.point([node.pos[0] + node.size[0] / 2, node.pos[1] - 15]);
    },

    slot(id, name) {
        const node = app.graph.getNodeById(id);
        const input = node.inputs.findIndex(slot => slot.name === name);
        const output = node.outputs.findIndex(slot => slot.name === name);
        return this.point(input >= 0 ? node.getInputPos(input) : node.getOutputPos(output));
    },

    widget(id, name) {
        const node = app.graph.getNodeById(id);
        const widget = node.widgets.find(widget => widget.name === name);
        return this.point([node.pos[0] + node.size[0] / 2, node.pos[1] + widget.last_y + 10]);
    },

    // The rectangle around all groups and nodes.
    everything() {
        const boxes = [...app.graph._groups, ...app.graph._nodes].map(item => item.boundingRect ?? item.getBounding());
        const [left, top] = [0, 1].map(axis => Math.min(...boxes.map(box => box[axis])));
        const [right, bottom] = [0, 1].map(axis => Math.max(...boxes.map(box => box[axis] + box[axis + 2])));
        return [...this.point([left, top]), ...this.point([right, bottom])];
    },

    // [name, left, top, right, bottom] of every node drawn on the classic canvas, with its title and picture.
    drawnBoxes() {
        return app.graph._nodes.map(node => {
            const [x, y, width, height] = node.getBounding();
            const widgets = (node.widgets ?? []).map(widget => node.pos[1] + widget.y + (widget.computedHeight ?? 0));
            const bottom = Math.max(y + height, ...widgets);
            return [`${node.type} ${node.id}`, ...this.point([x, y]), ...this.point([x + width, bottom])];
        });
    },

    // The same of Nodes 2.0's page elements, with what hangs out of them.
    elementBoxes() {
        return [...document.querySelectorAll("[data-node-id]")].map(element => {
            const node = app.graph.getNodeById(element.dataset.nodeId);
            const boxes = [element, ...element.querySelectorAll("[data-testid^=node-], button")]
                .map(part => part.getBoundingClientRect())
                .filter(box => box.width && box.height);
            return [
                `${node.type} ${node.id}`,
                Math.min(...boxes.map(box => box.left)),
                Math.min(...boxes.map(box => box.top)),
                Math.max(...boxes.map(box => box.right)),
                Math.max(...boxes.map(box => box.bottom)),
            ];
        });
    },

    // [title, left, top, right, bottom] of every group's frame.
    groupBoxes() {
        return app.graph._groups.map(group => {
            const [x, y, width, height] = group._bounding ?? group.bounding;
            return [group.title, ...this.point([x, y]), ...this.point([x + width, y + height])];
        });
    },

    // The same of what ComfyUI lays over the canvas all the time: its bars and the minimap.
    barBoxes() {
        const bars = {
            "side bar": "[data-testid=side-toolbar]",
            "tabs": ".workflow-tabs-container",
            "run button": "[data-testid=queue-button]",
            "minimap": "[data-testid=minimap-container]",
            "canvas tools": "[role=toolbar]:has([data-testid=zoom-controls-button])",
        };
        return Object.entries(bars).map(([name, selector]) => {
            const { left, top, right, bottom } = document.querySelector(selector).getBoundingClientRect();
            return [name, left, top, right, bottom];
        });
    },

    cutNotes() {
        const notes = app.graph._nodes.filter(node => node.type === "MarkdownNote");
        return notes.filter(note => {
            const built = document.querySelector(`[data-node-id='${note.id}'] .comfy-markdown-content`);
            const text = built ?? note.widgets[0].element.querySelector(".comfy-markdown-content, .tiptap");
            return text.scrollHeight > text.clientHeight + 1 || text.scrollWidth > text.clientWidth + 1;
        }).map(note => note.title);
    },

    // The contrast of the hardest text to read in each note of Nodes 2.0, after WCAG.
    noteContrasts() {
        const channels = colour => colour.match(/[\d.]+/g).slice(0, 3).map(Number);
        const light = colour => {
            const [red, green, blue] = channels(colour).map(value => value / 255)
                .map(value => (value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
            return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
        };
        const background = element => {
            const colour = getComputedStyle(element).backgroundColor;
            return /, 0\)$/.test(colour) ? background(element.parentElement) : colour;
        };
        return [...document.querySelectorAll("[data-node-id] .comfy-markdown-content")].map(note => {
            const texts = [...note.querySelectorAll("*")].filter(element => element.innerText?.trim());
            return Math.min(...texts.map(element => {
                const pair = [light(getComputedStyle(element).color), light(background(element))];
                return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
            }));
        });
    },
};
