"""LTX Duo: two-stage LTX-2.3 text/image-to-video with sound, for ComfyUI."""

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    """ComfyUI's entry point; the nodes are imported only when ComfyUI asks for them."""
    from .nodes import LTXDuoExtension

    return LTXDuoExtension()
