"""A MODEL on layers of another pack, whose weights lie packed and are expanded when a layer runs, as GGUF loaders make
them: a stand-in for the classes of such a loader, against the same numbers unpacked through our own loader."""

import comfy.latent_formats
import comfy.lora
import comfy.model_patcher
import comfy.ops
import comfy.sd
import comfy.utils
import pytest
import torch

from ltx_duo.nodes.comfyui import core_model, latents

if not hasattr(comfy.latent_formats, "LTXAV"):
    pytest.skip("this ComfyUI has no audio-video model", allow_module_level=True)

import nodes as core

PREFIX = "model.diffusion_model."
BLOCK = 32
REFERENCE = "the same numbers through LTX Model Loader"


class Packed(torch.Tensor):
    """Blocks of a float16 scale and 32 whole numbers each, as bytes; it calls itself as large as what it stands for."""

    def __new__(cls, data, logical, patches=()):
        made = torch.Tensor._make_subclass(cls, data)
        made.logical, made.patches = torch.Size(logical), list(patches)
        return made

    def __init__(self, *arguments, **options):
        super().__init__()

    @property
    def shape(self):
        return getattr(self, "logical", self.size())

    def to(self, *arguments, **options):
        return Packed(super().to(*arguments, **options).data, self.shape, getattr(self, "patches", ()))

    def clone(self, *arguments, **options):
        return self

    def detach(self):
        return self


def pack(weight: torch.Tensor) -> torch.Tensor:
    blocks = weight.float().reshape(-1, BLOCK)
    scales = (blocks.abs().amax(dim=1, keepdim=True) / 127).half()
    numbers = (blocks / scales.float().clamp_min(1e-8)).round().clamp(-127, 127).to(torch.int8)
    return torch.cat((scales.view(torch.uint8), numbers.view(torch.uint8)), dim=1).reshape(weight.shape[0], -1)


def unpack(data: torch.Tensor, shape) -> torch.Tensor:
    blocks = data.as_subclass(torch.Tensor).reshape(-1, BLOCK + 2)
    scales = blocks[:, :2].contiguous().view(torch.float16).float()
    return (blocks[:, 2:].contiguous().view(torch.int8).float() * scales).reshape(tuple(shape))


class Layers(comfy.ops.manual_cast):
    class Linear(comfy.ops.manual_cast.Linear):
        def __init__(self, in_features, out_features, bias=True, device=None, dtype=None):
            torch.nn.Module.__init__(self)
            self.in_features, self.out_features = in_features, out_features
            self.weight = self.bias = None

        def _load_from_state_dict(self, state_dict, prefix, local_metadata, strict, missing, unexpected, errors):
            for key, value in state_dict.items():
                setattr(self, key.removeprefix(prefix), torch.nn.Parameter(value, requires_grad=False))

        def _save_to_state_dict(self, destination, prefix, keep_vars):
            for name in ("weight", "bias"):
                if (value := getattr(self, name)) is not None:
                    destination[f"{prefix}{name}"] = torch.empty(tuple(value.size()), device="meta")

        def forward_comfy_cast_weights(self, input):
            if not isinstance(self.weight, Packed):
                return super().forward_comfy_cast_weights(input)
            weight = unpack(self.weight.to(input.device), self.weight.shape)
            for patches, key in self.weight.patches:
                weight = comfy.lora.calculate_weight(patches, weight, key)
            return torch.nn.functional.linear(input, weight.to(input.dtype), self.bias.to(input))


class Patcher(comfy.model_patcher.ModelPatcher):
    """Lays no patch over a packed weight, but hangs it on the tensor."""

    def patch_weight_to_device(self, key, device_to=None, inplace_update=False, **options):
        weight = comfy.utils.get_attr(self.model, key)
        if not isinstance(weight, Packed):
            return super().patch_weight_to_device(key, device_to, inplace_update, **options)
        if key in self.patches:
            hung = weight.to(device_to)
            hung.patches = [(self.patches[key], key)]
            comfy.utils.set_attr_param(self.model, key, hung)

    def unpatch_model(self, device_to=None, unpatch_weights=True):
        for parameter in self.model.parameters() if unpatch_weights else ():
            if isinstance(parameter, Packed):
                parameter.patches = []
        return super().unpatch_model(device_to, unpatch_weights)

    def load(self, *arguments, force_patch_weights=False, **options):
        super().load(*arguments, force_patch_weights=True, **options)


@pytest.fixture
def theirs_and_ours(rewritten, run, names):
    """The MODEL of packed weights, and our model of a file with the numbers that they stand for."""
    packed, kept = {}, {}

    def unpacked(tensors, metadata):
        kept.update(metadata)
        for key in [key for key in tensors if key.startswith(PREFIX)]:
            tensor, name = tensors[key].float(), key.removeprefix(PREFIX)
            packed[name] = tensors[key] = tensor
            if tensor.ndim == 2 and name.endswith(".weight"):
                data = pack(tensor)
                packed[name], tensors[key] = Packed(data, tensor.shape), unpack(data, tensor.shape)

    ours = run("ModelLoader", checkpoint=rewritten("checkpoints", names.checkpoint, unpacked), weight_dtype="auto")
    options = {"custom_operations": Layers}
    theirs = comfy.sd.load_diffusion_model_state_dict(packed, model_options=options, metadata=kept)
    theirs.__class__ = Patcher
    return theirs, ours


def test_both_stages_with_and_without_a_lora(
    theirs_and_ours, run, stage_one, stage_two, upsampled, names, measured, model, same
):
    theirs, unpacked = theirs_and_ours
    layer = theirs.model.diffusion_model.transformer_blocks[0].attn1.to_q
    assert isinstance(layer.weight, Packed) and layer.weight.dtype == torch.uint8
    patched = core.LoraLoaderModelOnly().load_lora_model_only(theirs, names.lora, 0.7)[0]
    reference = run("LoraLoader", model=unpacked, lora=names.lora, strength_stage_one=0.0, strength_stage_two=0.7)
    films = {
        "stage one": (stage_one(theirs), stage_one(unpacked)),
        "stage two with a LoRA": (stage_two(patched, upsampled), stage_two(reference, upsampled)),
        "stage two without it again": (stage_two(theirs, upsampled), stage_two(unpacked, upsampled)),
    }
    for what, pair in films.items():
        for name, ours, own in zip(("video", "audio"), *map(latents.take, pair), strict=True):
            measured(f"MODEL of packed weights, {what}: {name}", REFERENCE, ours, own, 2e-5)
    ones = list(films.values())
    assert not same(ones[1][0], ones[2][0]) and not same(ones[0][0], stage_one(model))
    assert core_model.take(theirs).stage(1).expanding_bytes > 0
    assert theirs.model.diffusion_model.transformer_blocks[0].attn1.to_q is layer
