"""A node's schema as ComfyUI's /object_info gives it: its inputs in order, and which of them are widgets."""

WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COMFY_DYNAMICCOMBO_V3"}


def specifications(info: dict) -> dict[str, list]:
    """All inputs in the order of the schema: name -> [type or choices, options]."""
    return {
        name: [*info["input"][section][name], {}][:2]
        for section in ("required", "optional")
        for name in info["input_order"].get(section, [])
    }


def is_widget(specification: list) -> bool:
    return isinstance(specification[0], list) or specification[0] in WIDGET_TYPES
