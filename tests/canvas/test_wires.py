"""Each of the pack's types has a colour of its own, in every palette."""

import pytest

# Chosen as the settings dialog does; the wires' colours are the canvas's own, the slots' are the page's.
CHOOSE = "palette => app.extensionManager.setting.set('Comfy.ColorPalette', palette)"
COLOURS = """types => types.map(type => [
    app.canvas.constructor.link_type_colors[type],
    app.canvas.default_connection_color_byType[type],
    getComputedStyle(document.documentElement).getPropertyValue(`--color-datatype-${type}`).trim(),
])"""
CORE = ("MODEL", "VAE", "CLIP", "LATENT", "CONDITIONING", "IMAGE")


@pytest.mark.parametrize("palette", ["dark", "light", "nord"])
def test_types_differ(canvas, object_info, palette):
    ours = {kind for node, info in object_info.items() if node.startswith("LTXDuo") for kind in info["output"]}
    types = sorted(kind for kind in ours if kind.startswith("LTXDUO_"))
    assert len(types) == 6
    try:
        canvas.page.evaluate(CHOOSE, palette)
        canvas.page.wait_for_timeout(300)
        own, core = canvas.page.evaluate(COLOURS, types), canvas.page.evaluate(COLOURS, list(CORE))
    finally:
        canvas.page.evaluate(CHOOSE, "dark")
    for same in own:
        assert len(set(same)) == 1
        assert same[0]
    wires = [wire for wire, *_ in own]
    assert len(set(wires)) == len(types)
    assert not {wire.lower() for wire in wires} & {wire.lower() for wire, *_ in core}
