"""The LTX-2.3 audio-video diffusion transformer."""
