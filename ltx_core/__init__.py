"""The LTX-2.3 audio-video engine: plain PyTorch, usable without ComfyUI.

Data flows one way: checkpoint files -> components -> text and image conditioning -> stage one
-> latent upsample -> stage two -> decode.  `two_stage.py` tells that story in one page.
"""
