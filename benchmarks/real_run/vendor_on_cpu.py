"""What the vendor's 1.0 needs to run on a CPU, in float32 and with a text encoder of another size than Gemma-3 12B."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import torch
from torch import nn

Set = Callable[[object, str, object], None]


class Float32Torch:
    """The torch module with float32 under the name bfloat16."""

    bfloat16 = torch.float32

    def __getattr__(self, name: str):
        return getattr(torch, name)


def adapt(module: ModuleType, gemma: Path, set: Set = setattr) -> None:
    """Changes the vendor's packages, and torch.cuda.synchronize, for the pipeline in `module` and a Gemma folder.

    `set` as setattr, so that a test can undo it.
    """
    from ltx_core.loader import fuse_loras
    from ltx_core.text_encoders.gemma.encoders import encoder_configurator
    from ltx_pipelines.utils import model_ledger

    set(torch.cuda, "synchronize", lambda *_: None)
    set(module, "torch", Float32Torch())
    if hasattr(module, "res2s_audio_video_denoising_loop"):
        loop = functools.partial(module.res2s_audio_video_denoising_loop, model_dtype=torch.float32)
        set(module, "res2s_audio_video_denoising_loop", loop)

    config = json.loads((gemma / "config.json").read_text())
    sizes = SimpleNamespace(to_dict=lambda: config, text_config=SimpleNamespace(**config["text_config"]))
    set(encoder_configurator, "GEMMA3_CONFIG_FOR_LTX", sizes)
    set(model_ledger, "GEMMA_MODEL_OPS", _gemma_operation(gemma))
    set(model_ledger, "module_ops_from_gemma_root", lambda _folder: ())

    fuse = fuse_loras._fuse_deltas

    def fuse_float32(deltas, weight, key, *arguments):
        if deltas is not None and weight.dtype == torch.float32:
            return {key: weight + deltas}
        return fuse(deltas, weight, key, *arguments)

    set(fuse_loras, "_fuse_deltas", fuse_float32)


def _gemma_operation(folder: Path):
    from ltx_core.loader.module_ops import ModuleOps
    from ltx_core.text_encoders.gemma.encoders.base_encoder import GemmaTextEncoder

    def complete(encoder: nn.Module) -> nn.Module:
        encoder.tokenizer = _tokenizer(folder)
        model = encoder.model.model
        model.vision_tower = model.multi_modal_projector = None
        language = model.language_model
        language.rotary_emb = type(language.rotary_emb)(language.config)
        embedding = language.embed_tokens
        embedding.embed_scale = torch.tensor(embedding.scalar_embed_scale)
        return encoder

    return ModuleOps("SmallGemma", matcher=lambda module: isinstance(module, GemmaTextEncoder), mutator=complete)


@functools.cache
def _tokenizer(folder: Path):
    from ltx_core.text_encoders.gemma.tokenizer import LTXVGemmaTokenizer

    return LTXVGemmaTokenizer(str(folder), 1024)
