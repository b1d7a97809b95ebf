"""The checks in trees/ need a ComfyUI in their own process; test_comfyui_trees.py starts them."""

import os

collect_ignore = [] if "LTXDUO_COMFYUI_TREE" in os.environ else ["trees"]
