"""A custom node pack for measuring a ComfyUI server from inside; `comfyui_budgets.py` puts it beside LTX Duo.

Nodes: random text conditioning in place of a text encoder, and an end that takes any result.  Routes: `/probe/start`
forgets what was recorded, `/probe/figures` gives it.  Times are of the system's monotonic clock.
"""

import threading
import time
from pathlib import Path

import comfy.model_management as mm
import comfy.utils
import torch
from aiohttp import web
from comfy_aimdo.control import get_total_vram_usage
from server import PromptServer

SAMPLE_SECONDS = 0.02
GIB = 2**30
ON_GPU = mm.get_torch_device().type == "cuda"


class Recorder:
    """What the server said of nodes, loads, progress steps and samples of memory since `start`."""

    def __init__(self):
        self.start()
        threading.Thread(target=self._sample_for_ever, daemon=True).start()

    def start(self) -> None:
        self.nodes: list[tuple[float, str | None]] = []
        self.loads: list[tuple[float, float]] = []
        self.steps: list[tuple[float, float]] = []
        self.samples: list[dict[str, float]] = []
        self.fp8_products = 0

    def figures(self) -> dict:
        return {
            "nodes": self.nodes, "loads": self.loads, "steps": self.steps, "samples": self.samples,
            "fp8_products": self.fp8_products,
            "device": torch.cuda.get_device_name() if ON_GPU else "cpu", "torch": torch.__version__,
        }  # fmt: skip

    def _sample_for_ever(self) -> None:
        while True:
            self.samples.append(sample())
            time.sleep(SAMPLE_SECONDS)


def sample() -> dict[str, float]:
    """GiB: what PyTorch allocated at most since the last sample, what the card has in use, the process's memory.

    `counted` is what dynamic VRAM holds against the cap: weights, buffers and what PyTorch allocated, but not what the
    pool keeps beyond that, which is `reserved` less what is allocated.
    `rss` = `anonymous` (with pinned) + `files` (mapped pages, which the system can drop) + `shared`.
    """
    found = {"time": time.monotonic()}
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    for name, key in (("rss", "VmRSS"), ("anonymous", "RssAnon"), ("files", "RssFile"), ("shared", "RssShmem")):
        found[name] = int(status[key].split()[0]) * 1024 / GIB
    if ON_GPU:
        free, total = torch.cuda.mem_get_info()
        found |= {"card": (total - free) / GIB, "allocated": torch.cuda.max_memory_allocated() / GIB}
        found |= {"reserved": torch.cuda.memory_reserved() / GIB, "counted": get_total_vram_usage() / GIB}
        torch.cuda.reset_peak_memory_stats()
    return found


def now() -> float:
    if ON_GPU:
        torch.cuda.synchronize()
    return time.monotonic()


def record_loads(load):
    def recorded(*inputs, **options):
        begin = now()
        result = load(*inputs, **options)
        RECORDER.loads.append((begin, now()))
        return result

    return recorded


def record_steps(update):
    def recorded(bar, value, *inputs, **options):
        RECORDER.steps.append((now(), value))
        return update(bar, value, *inputs, **options)

    return recorded


def record_nodes(send):
    """A node runs from its `executing` message to the next one; without a node it tells the end."""

    def recorded(event, data, *inputs, **options):
        if event == "executing":
            RECORDER.nodes.append((now(), data["node"]))
        return send(event, data, *inputs, **options)

    return recorded


def count_products(product):
    def counted(*inputs, **options):
        RECORDER.fp8_products += 1
        return product(*inputs, **options)

    return counted


class RandomText:
    """CONDITIONING as the text encoder for LTX-2.3 gives it: 4096 features for picture, 2048 for sound."""

    CATEGORY, FUNCTION, RETURN_TYPES = "probe", "make", ("CONDITIONING",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"seed": ("INT", {"default": 0}), "width": ("INT", {"default": 6144})}}

    def make(self, seed: int, width: int):
        text = torch.randn(1, 100, width, generator=torch.Generator().manual_seed(seed))
        return ([[text, {"unprocessed_ltxav_embeds": True, "pooled_output": None, "frame_rate": 24.0}]],)


class AnyType(str):
    def __ne__(self, other) -> bool:
        return False


class End:
    """An output node that does nothing with what it gets."""

    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "probe", "end", (), True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"result": (AnyType("*"),)}, "optional": {"more": (AnyType("*"),)}}

    def end(self, result, more=None):
        return ()


NODE_CLASS_MAPPINGS = {"ProbeRandomText": RandomText, "ProbeEnd": End}
RECORDER = Recorder()
mm.load_models_gpu = record_loads(mm.load_models_gpu)
PromptServer.instance.send_sync = record_nodes(PromptServer.instance.send_sync)
comfy.utils.ProgressBar.update_absolute = record_steps(comfy.utils.ProgressBar.update_absolute)
if hasattr(torch, "_scaled_mm"):
    torch._scaled_mm = count_products(torch._scaled_mm)


@PromptServer.instance.routes.post("/probe/start")
async def start(request):
    RECORDER.start()
    return web.json_response({})


@PromptServer.instance.routes.get("/probe/figures")
async def figures(request):
    return web.json_response(RECORDER.figures())
