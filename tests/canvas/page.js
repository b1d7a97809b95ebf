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
};
