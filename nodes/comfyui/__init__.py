"""The adapter: the only code of the pack that knows ComfyUI's internals."""
