"""Files as Kijai, unsloth, Comfy-Org and others split and save them again, and as people rename and move them.

Behind the rows: Lightricks/LTX-2#106, ComfyUI-LTXVideo#436, #455, #465, KJNodes#606, #610, Wan2GP#288, ComfyUI#11864,
#14722, ComfyUI-GGUF#398, #400.
"""

import json
import shutil
from pathlib import Path

import torch

from ltx_duo.ltx_core import known_configs
from ltx_duo.ltx_core.upsampler import LatentUpsampler, UpsamplerParams
from ltx_duo.tests.nodes.trees.file_kinds import (
    CHECKPOINT,
    GEMMA,
    GEMMA_FOLDER,
    LORA,
    UPSAMPLER,
    FileKind,
    Inputs,
    Models,
    Tensors,
    parts,
    renamed,
)

MODEL, VAE, AUDIO, VOCODER = "model.diffusion_model.", "vae.", "audio_vae.", "vocoder."
PROJECTION = "text_embedding_projection."
CONNECTORS = (f"{MODEL}video_embeddings_connector.", f"{MODEL}audio_embeddings_connector.")
MODEL_FILE, OTHER = "model.safetensors", "other.safetensors"

# A tokenizer of a few words: Gemma's own takes a second to read.
WORDS = ["<pad>", "<eos>", "<bos>", "<unk>", "a", "lake", "at", "dawn", ",", "ducks", "call"]
TOKENIZER = {
    "version": "1.0",
    "added_tokens": [],
    "pre_tokenizer": {"type": "Whitespace"},
    "model": {"type": "WordLevel", "vocab": {word: i for i, word in enumerate(WORDS)}, "unk_token": "<unk>"},
}


def _nothing(_: Models) -> Inputs:
    return {}


def _only(models: Models, *prefixes: str) -> tuple[Tensors, dict[str, str]]:
    """Those parts of the small checkpoint, with its metadata."""
    tensors, metadata = models.small()
    return parts(tensors, *prefixes), metadata


def _transformer(models: Models) -> Tensors:
    return {name: tensor for name, tensor in _only(models, MODEL)[0].items() if not name.startswith(CONNECTORS)}


def _config_beside(models: Models, kind: str, folder: str = "", **changes: dict) -> None:
    config = {section: {**values, **changes.get(section, {})} for section, values in models.config.items()}
    models.text(kind, f"{folder}config.json", json.dumps(config))


# The model's file.


def _model(change=lambda models, tensors: tensors, keep_metadata: bool = True, name: str = MODEL_FILE):
    """The model and its connectors in a file of their own, changed."""

    def write(models: Models) -> Inputs:
        tensors, metadata = _only(models, MODEL)
        tensors = change(models, tensors)
        return {"checkpoint": models.save("diffusion_models", name, tensors, metadata if keep_metadata else {})}

    return write


def _prefixed(prefix: str):
    return _model(lambda _, tensors: renamed(tensors, MODEL, prefix))


def _model_with_config_beside(models: Models) -> Inputs:
    _config_beside(models, "diffusion_models", "ltx/")
    return _model(keep_metadata=False, name="ltx/model.safetensors")(models)


def _model_with_another_config_beside(models: Models) -> Inputs:
    _config_beside(models, "diffusion_models", "ltx/", transformer={"num_layers": 3})
    return _model(keep_metadata=False, name="ltx/model.safetensors")(models)


def _config_of_the_transformer_alone(models: Models) -> Inputs:
    config = {"config": json.dumps({"transformer": models.config["transformer"]})}
    return {"checkpoint": models.save("diffusion_models", MODEL_FILE, _only(models, MODEL)[0], config)}


def _apart(prefix: str = MODEL, *, keep_metadata: bool = False, projection: bool = False, beside: bool = False):
    """Transformer and connectors in two files; the connectors' with their own prefix, metadata, and the projection."""

    def write(models: Models) -> Inputs:
        metadata = models.small()[1]
        connectors = renamed(_only(models, *CONNECTORS)[0], MODEL, prefix)
        if projection:
            connectors |= _only(models, PROJECTION)[0]
        if beside:
            _config_beside(models, "diffusion_models")
        return {
            "checkpoint": models.save("diffusion_models", MODEL_FILE, _transformer(models), {} if beside else metadata),
            "connectors": models.save("text_encoders", OTHER, connectors, metadata if keep_metadata else {}),
        }

    return write


def _connectors_of_the_checkpoint(models: Models) -> Inputs:
    return {**_apart()(models), "connectors": CHECKPOINT}


def _transformer_alone(models: Models) -> Inputs:
    return {"checkpoint": models.save("diffusion_models", MODEL_FILE, _transformer(models), models.small()[1])}


def _connectors_of_another_width(models: Models) -> Inputs:
    config = models.config
    config["transformer"] |= {"connector_num_attention_heads": 2}
    connectors = {}
    for name, tensor in _only(models, *CONNECTORS)[0].items():
        if name.startswith(CONNECTORS[0]):
            gates = (2 if ".to_gate_logits." in name else 0, 2)
            shape = [gates[0] or size // gates[1] if size != 128 or i or "registers" not in name else size
                     for i, size in enumerate(tensor.shape)]  # fmt: skip
            if ".to_gate_logits.weight" in name:
                shape = [2, tensor.shape[1] // 2]
            connectors[name] = torch.zeros(shape, dtype=tensor.dtype)
        else:
            connectors[name] = tensor
    connectors = models.save("text_encoders", OTHER, connectors, {"config": json.dumps(config)})
    return {**_transformer_alone(models), "connectors": connectors}


def _connectors_of_an_older_model(models: Models) -> Inputs:
    metadata = {**models.small()[1], "model_version": "2.0.0"}
    connectors = models.save("text_encoders", OTHER, _only(models, *CONNECTORS)[0], metadata)
    return {**_transformer_alone(models), "connectors": connectors}


def _projection_as_connectors(models: Models) -> Inputs:
    connectors = models.save("text_encoders", OTHER, _only(models, PROJECTION)[0])
    return {**_transformer_alone(models), "connectors": connectors}


# VAEs.


def _vaes(video=lambda tensors: tensors, audio=lambda tensors: tensors, metadata: str = "kept"):
    """Video VAE and sound in two files, changed; their config kept, the video's lost, or all of it beside them."""

    def write(models: Models) -> Inputs:
        tensors, kept = models.small()
        if metadata == "beside":
            _config_beside(models, "vae")
        of_sound, kept = (kept, {}) if metadata == "video's lost" else (kept, kept) if metadata == "kept" else ({}, {})
        pictures = video(parts(tensors, VAE))
        sound = audio(parts(tensors, AUDIO, VOCODER))
        return {
            "checkpoint": models.save("vae", "video.safetensors", pictures, kept),
            "audio_file": models.save("vae", "audio.safetensors", sound, of_sound),
        }

    return write


def _sound(*prefixes: str, new: dict[str, str] = {}):  # noqa: B006
    """A part of the sound in a file of its own, beside the checkpoint."""

    def write(models: Models) -> Inputs:
        tensors, metadata = _only(models, *prefixes)
        for old, name in new.items():
            tensors = renamed(tensors, old, name) | {key: t for key, t in tensors.items() if not key.startswith(old)}
        return {"audio_file": models.save("vae", "audio.safetensors", tensors, metadata)}

    return write


def _video_and(*prefixes: str):
    def write(models: Models) -> Inputs:
        tensors, metadata = _only(models, VAE)
        video = models.save("vae", "video.safetensors", tensors, metadata)
        return {"checkpoint": video, **_sound(*prefixes)(models)}

    return write


def _moved(tensors: Tensors, changes: dict[str, str]) -> Tensors:
    """All tensors, with those prefixes renamed."""
    old = next((old for old in changes), "")
    found = {}
    for name, tensor in tensors.items():
        old = next((old for old in changes if name.startswith(old)), "")
        found[changes.get(old, "") + name[len(old) :]] = tensor
    return found


def _aliased(tensors: Tensors) -> Tensors:
    names = {
        "per_channel_statistics.mean-of-means": "latents_mean",
        "per_channel_statistics.std-of-means": "latents_std",
    }
    return {AUDIO + names.get(name.removeprefix(AUDIO), name.removeprefix(AUDIO)) if name.startswith(AUDIO) else name: t
            for name, t in tensors.items()}  # fmt: skip


def _without(prefix: str):
    def write(models: Models) -> Inputs:
        tensors, metadata = models.small()
        kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(prefix)}
        return {"checkpoint": models.save("checkpoints", "less.safetensors", kept, metadata)}

    return write


# Text encoders and projections.


def _gemma(prefix: str = "model.", extra=lambda models: {}, tokenizer: str | None = None, metadata=None):
    """Gemma in one file, its names below `prefix`, with a tokenizer of a few words and something more."""

    def write(models: Models) -> Inputs:
        tensors = renamed(parts(models.small(GEMMA)[0], "model."), "model.", prefix)
        if tokenizer != "":
            text = (tokenizer or json.dumps(TOKENIZER)).encode()
            tensors["tokenizer_json"] = torch.tensor(list(text), dtype=torch.uint8)
        tensors |= extra(models)
        return {"text_encoder": models.save("text_encoders", "gemma.safetensors", tensors, metadata or {})}

    return write


def _gemma_and_projection(models: Models) -> Inputs:
    written = _gemma(extra=lambda models: _only(models, PROJECTION)[0])(models)
    return {**written, "projection": written["text_encoder"]}


def _projection(prefix: str = PROJECTION, drop: str = "", more: tuple[str, ...] = ()):
    """The text projection in a file without metadata."""

    def write(models: Models) -> Inputs:
        tensors = renamed(_only(models, PROJECTION)[0], PROJECTION, prefix)
        tensors = {name: tensor for name, tensor in tensors.items() if not (drop and name.endswith(drop))}
        tensors |= _only(models, *more)[0] if more else {}
        return {"projection": models.save("text_encoders", OTHER, tensors)}

    return write


def _gemma_of_size(hidden: int, layers: int, heads: int, head_dim: int = 256):
    """The header of a Gemma-3 of another size in bfloat16, with a tokenizer."""

    def write(models: Models) -> Inputs:
        shapes = {"model.embed_tokens.weight": (262208, hidden), "model.norm.weight": (hidden,)}
        for i in range(layers):
            layer = f"model.layers.{i}."
            norms = ("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm",
                     "post_feedforward_layernorm")  # fmt: skip
            shapes |= {f"{layer}{norm}.weight": (hidden,) for norm in norms}
            shapes |= {f"{layer}self_attn.{name}_norm.weight": (head_dim,) for name in ("q", "k")}
            shapes |= {f"{layer}self_attn.q_proj.weight": (heads * head_dim, hidden)}
            shapes |= {f"{layer}self_attn.{name}_proj.weight": (heads // 2 * head_dim, hidden) for name in "kv"}
            shapes |= {f"{layer}self_attn.o_proj.weight": (hidden, heads * head_dim)}
            shapes |= {f"{layer}mlp.{name}_proj.weight": (4 * hidden, hidden) for name in ("gate", "up")}
            shapes |= {f"{layer}mlp.down_proj.weight": (hidden, 4 * hidden)}
        folder = "gemma-other"
        models.header("text_encoders", f"{folder}/model.safetensors", shapes)
        config = {"model_type": "gemma3_text", "hidden_size": hidden, "num_hidden_layers": layers, "head_dim": head_dim,
                  "num_attention_heads": heads, "num_key_value_heads": heads // 2, "intermediate_size": 4 * hidden,
                  "vocab_size": 262208}  # fmt: skip
        models.text("text_encoders", f"{folder}/config.json", json.dumps(config))
        models.text("text_encoders", f"{folder}/tokenizer.json", json.dumps(TOKENIZER))
        return {"text_encoder": folder}

    return write


def _folder_without_a_shard(models: Models) -> Inputs:
    target = models.folder("text_encoders") / "shards"
    shutil.copytree(models.gemma_folder, target)
    (target / "model.safetensors").rename(target / "model-00001-of-00002.safetensors")
    return {"text_encoder": "shards"}


def _diffusers_folder(models: Models) -> Inputs:
    target = models.folder("text_encoders") / "LTX-2"
    shutil.copytree(models.gemma_folder, target / "text_encoder")
    (target / "model_index.json").write_text('{"_class_name": "LTX2Pipeline"}')
    return {"text_encoder": "LTX-2"}


def _names(kind: str, slot: str, *names: str, file: str = MODEL_FILE):
    """A file with tensors of those names, as another tool writes them."""
    return lambda models: {slot: models.save(kind, file, {name: torch.ones(4, 4) for name in names})}


def _transformer_with(*suffixes: str):
    """The small model with quantised layers as another tool writes them: each suffix beside or instead of a weight."""

    def change(_: Models, tensors: Tensors) -> Tensors:
        layer = f"{MODEL}transformer_blocks.1.attn1.to_k"
        return {**tensors, **{f"{layer}{suffix}": torch.ones(4, dtype=torch.uint8) for suffix in suffixes}}

    return _model(change)


# Upsamplers, and files anywhere.


def _upsampler(metadata: bool, beside: bool = False):
    def write(models: Models) -> Inputs:
        tensors, kept = models.small(UPSAMPLER)
        if beside:
            models.text("latent_upscale_models", "up/config.json", kept["config"])
        return {
            "upsampler": models.save("latent_upscale_models", "up/x2.safetensors", tensors, kept if metadata else {})
        }

    return write


def _official_upsampler(number: int):
    """The header of one of LTX-2.3's upsamplers, without metadata."""

    def write(models: Models) -> Inputs:
        configs = Path(known_configs.__file__).parent / "variants" / "configs" / "ltx-2.3-upsamplers.json"
        config = json.loads(configs.read_text())[number]
        module = LatentUpsampler(UpsamplerParams.from_config(config), device="meta")
        shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
        return {"upsampler": models.header("latent_upscale_models", "up.safetensors", shapes)}

    return write


def _windows_names(models: Models) -> Inputs:
    _apart()(models)
    for kind, name in (("diffusion_models", MODEL_FILE), ("text_encoders", OTHER)):
        folder = models.folder(kind)
        (folder / "ltx").mkdir()
        (folder / name).rename(folder / "ltx" / name)
    return {"checkpoint": f"ltx\\{MODEL_FILE}", "connectors": f"ltx\\{OTHER}"}


def _windows_folder(models: Models) -> Inputs:
    target = models.folder("text_encoders") / "google" / "gemma"
    shutil.copytree(models.gemma_folder, target)
    (target / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    return {"text_encoder": "google\\gemma"}


def _cut_off(models: Models, keep: float = 0.5) -> str:
    name = _model()(models)["checkpoint"]
    path = models.folder("diffusion_models") / name
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * keep)])
    return name


def _unfinished(mark: str = ""):
    def write(models: Models) -> Inputs:
        name = _cut_off(models)
        if mark:
            (models.folder("diffusion_models") / f"{name}{mark}").touch()
        return {"checkpoint": name}

    return write


def _good_one_in_another_folder(models: Models) -> Inputs:
    tensors, metadata = models.small()
    models.save("checkpoints", MODEL_FILE, tensors, metadata)
    path = models.folder("checkpoints") / MODEL_FILE
    path.write_bytes(path.read_bytes()[:-1000])
    return _model()(models)


def _version(version: str):
    def write(models: Models) -> Inputs:
        tensors, metadata = models.small()
        return {"checkpoint": models.save("checkpoints", MODEL_FILE, tensors, {**metadata, "model_version": version})}

    return write


ROWS = [
    FileKind("official checkpoint in the model loader", "ModelLoader", _nothing),
    FileKind("official checkpoint in the VAE loader", "VAELoader", _nothing),
    FileKind("official checkpoint as projection", "TextEncoderLoader", _nothing),
    FileKind("official upsampler", "UpsamplerLoader", _nothing),
    FileKind("official LoRA", "LoraLoader", _nothing),
    # The model's file.
    FileKind("model and connectors in diffusion_models", "ModelLoader", _model()),
    FileKind("model below diffusion_model.", "ModelLoader", _prefixed("diffusion_model.")),
    FileKind("model below transformer.", "ModelLoader", _prefixed("transformer.")),
    FileKind("model below model.", "ModelLoader", _prefixed("model.")),
    FileKind("model without a prefix", "ModelLoader", _prefixed("")),
    FileKind("config of the transformer alone", "ModelLoader", _config_of_the_transformer_alone),
    FileKind("model without metadata, config.json beside", "ModelLoader", _model_with_config_beside),
    FileKind("connectors apart, without metadata", "ModelLoader", _apart()),
    FileKind("connectors apart, with metadata", "ModelLoader", _apart(keep_metadata=True)),
    FileKind("connectors apart, without a prefix", "ModelLoader", _apart("")),
    FileKind("connectors apart, below text_encoders.", "ModelLoader", _apart("text_encoders.")),
    FileKind("connectors apart, with the projection", "ModelLoader", _apart("", projection=True)),
    FileKind("model and connectors apart, both without metadata", "ModelLoader", _apart(beside=True)),
    FileKind("connectors from the official checkpoint", "ModelLoader", _connectors_of_the_checkpoint),
    FileKind("names from Windows", "ModelLoader", _windows_names),
    FileKind("unfinished file hides none of its name", "ModelLoader", _good_one_in_another_folder),
    # VAEs.
    FileKind("VAEs in two files with metadata", "VAELoader", _vaes()),
    FileKind("VAEs in two files, config.json beside", "VAELoader", _vaes(metadata="beside")),
    FileKind(
        "VAEs without prefixes",
        "VAELoader",
        _vaes(lambda t: _moved(t, {VAE: ""}), lambda t: _moved(t, {AUDIO: "", VOCODER: VOCODER})),
    ),
    FileKind(
        "VAEs as ComfyUI saves them",
        "VAELoader",
        _vaes(lambda t: _moved(t, {VAE: ""}), lambda t: _moved(t, {AUDIO: "autoencoder.", VOCODER: VOCODER})),
    ),
    FileKind(
        "VAEs below first_stage_model.",
        "VAELoader",
        _vaes(
            lambda t: _moved(t, {VAE: "first_stage_model."}),
            lambda t: _moved(t, {AUDIO: "first_stage_model.autoencoder.", VOCODER: "first_stage_model.vocoder."}),
        ),
    ),
    FileKind("audio statistics under their other names", "VAELoader", _vaes(audio=_aliased)),
    FileKind("sound beside the checkpoint", "VAELoader", _sound(AUDIO, VOCODER)),
    FileKind("audio VAE alone beside the checkpoint", "VAELoader", _sound(AUDIO)),
    FileKind("vocoder alone beside the checkpoint", "VAELoader", _sound(VOCODER)),
    FileKind("vocoder without its prefix", "VAELoader", _sound(VOCODER, new={VOCODER: ""})),
    # Text encoders and projections.
    FileKind("text encoder's folder", "TextEncoderLoader", lambda _: {"text_encoder": GEMMA_FOLDER}),
    FileKind("text encoder's folder by a name from Windows", "TextEncoderLoader", _windows_folder, plain=_gemma()),
    FileKind("projection of 4 tensors without config", "TextEncoderLoader", _projection()),
    FileKind("projection without a prefix", "TextEncoderLoader", _projection("")),
    FileKind("projection below text_encoders.", "TextEncoderLoader", _projection("text_encoders." + PROJECTION)),
    FileKind("projection with the connectors", "TextEncoderLoader", _projection(more=CONNECTORS)),
    FileKind("Gemma below language_model.model.", "TextEncoderLoader", _gemma("language_model.model."), plain=_gemma()),
    FileKind("Gemma below model.language_model.", "TextEncoderLoader", _gemma("model.language_model."), plain=_gemma()),
    FileKind("Gemma without a prefix", "TextEncoderLoader", _gemma(""), plain=_gemma()),
    FileKind("Gemma and projection in one file", "TextEncoderLoader", _gemma_and_projection, plain=_gemma()),
    FileKind(
        "Gemma with the connectors too",
        "TextEncoderLoader",
        _gemma(extra=lambda models: _only(models, *CONNECTORS, PROJECTION)[0]),
        plain=_gemma(),
    ),
    FileKind("upsampler without metadata, config.json beside", "UpsamplerLoader", _upsampler(False, beside=True)),
    # Refused: parts that are not there, or lie elsewhere.
    FileKind(
        "transformer without connectors",
        "ModelLoader",
        _transformer_alone,
        ("connectors", "has no video text connector.* Choose the file that has it as connectors"),
        together=True,
    ),
    FileKind(
        "projection as connectors",
        "ModelLoader",
        _projection_as_connectors,
        ("connectors", "other.safetensors has no video text connector"),
    ),
    FileKind(
        "connectors of another width",
        "ModelLoader",
        _connectors_of_another_width,
        ("connectors", "makes text 64 wide, but the transformer in .* takes 128.* connectors of the same model"),
        together=True,
    ),
    FileKind(
        "connectors of LTX-2.0",
        "ModelLoader",
        _connectors_of_an_older_model,
        ("connectors", "other.safetensors is of LTX-2.0"),
    ),
    FileKind(
        "checkpoint without VAE",
        "VAELoader",
        _without(VAE),
        ("checkpoint", "less.safetensors has no video VAE encoder"),
    ),
    FileKind(
        "audio VAE alone, no vocoder anywhere",
        "VAELoader",
        _video_and(AUDIO),
        ("audio_file", "audio.safetensors has no vocoder"),
        together=True,
    ),
    FileKind(
        "vocoder alone, no audio VAE anywhere",
        "VAELoader",
        _video_and(VOCODER),
        ("audio_file", "audio.safetensors has no audio VAE decoder"),
        together=True,
    ),
    FileKind(
        "VAE in place of the model",
        "ModelLoader",
        lambda models: {"checkpoint": models.save("checkpoints", "vae.safetensors", *_only(models, VAE))},
        ("checkpoint", "vae.safetensors has no transformer"),
    ),
    FileKind(
        "LoRA in place of the model",
        "ModelLoader",
        lambda models: {"checkpoint": models.save("checkpoints", "lora.safetensors", *models.small(LORA))},
        ("checkpoint", "has no transformer: it holds LoRA"),
    ),
    FileKind(
        "upsampler in the LoRA loader",
        "LoraLoader",
        lambda models: {"lora": models.save("loras", "up.safetensors", *models.small(UPSAMPLER))},
        ("lora", "is not a LoRA"),
    ),
    # Refused: no config, and shapes of no model that is known.
    FileKind(
        "model of unknown sizes without config",
        "ModelLoader",
        _model(keep_metadata=False),
        ("checkpoint", "has no 'config' in its metadata, and its transformer is not that of LTX-2.3 .*config.json"),
    ),
    FileKind(
        "config.json of another model beside",
        "ModelLoader",
        _model_with_another_config_beside,
        ("checkpoint", "is not that of the config.json beside it"),
    ),
    FileKind(
        "video VAE of unknown sizes without config",
        "VAELoader",
        _vaes(metadata="video's lost"),
        ("checkpoint", "has no 'config' in its metadata, and its video VAE"),
    ),
    FileKind(
        "upsampler of unknown sizes without config",
        "UpsamplerLoader",
        _upsampler(False),
        ("upsampler", "has no 'config' in its metadata, and its latent upsampler is not that of LTX-2.3"),
    ),
    FileKind(
        "official x1.5 upsampler without config",
        "UpsamplerLoader",
        _official_upsampler(1),
        ("upsampler", "enlarges by 1.5 in width and height"),
    ),
    FileKind(
        "official temporal upsampler without config",
        "UpsamplerLoader",
        _official_upsampler(2),
        ("upsampler", "enlarges in time"),
    ),
    FileKind(
        "projection without biases",
        "TextEncoderLoader",
        _projection(drop=".bias"),
        ("projection", "has no video_aggregate_embed.bias"),
    ),
    # Refused: another generation, another size, another model.
    FileKind("checkpoint of LTX-2.0", "ModelLoader", _version("2.0.1"), ("checkpoint", "is of LTX-2.0, which these")),
    FileKind("checkpoint of LTX-2.5", "VAELoader", _version("2.5.0"), ("checkpoint", "is of LTX-2.5, which these")),
    FileKind(
        "transformer without sound",
        "ModelLoader",
        _model(lambda _, tensors: {name: t for name, t in tensors.items() if "audio" not in name}),
        ("checkpoint", "has no layers for sound: a model of video alone"),
    ),
    FileKind(
        "projection of LTX-2.0",
        "TextEncoderLoader",
        _names("text_encoders", "projection", PROJECTION + "aggregate_embed.weight"),
        ("projection", "model.safetensors is of LTX-2.0"),
    ),
    FileKind(
        "Gemma-4",
        "TextEncoderLoader",
        _gemma(extra=lambda _: {f"model.layers.{i}.layer_scalar": torch.ones(1) for i in range(6)}),
        ("text_encoder", "is Gemma-4, LTX-2.5's text encoder; LTX-2.3 takes Gemma-3 12B"),
    ),
    FileKind(
        "LTX-2.5's text encoder by its metadata",
        "TextEncoderLoader",
        _gemma(metadata={"gemma_source_checkpoint": json.dumps({"ltx_version": "2.5.0"})}),
        ("text_encoder", "is of LTX-2.5"),
    ),
    FileKind(
        "Gemma-3 4B",
        "TextEncoderLoader",
        _gemma_of_size(2560, 34, 8),
        ("text_encoder", "but Gemma-3 4B in .* gives 89,600"),
        together=True,
    ),
    FileKind(
        "Gemma-3 27B",
        "TextEncoderLoader",
        _gemma_of_size(5376, 62, 32, 128),
        ("text_encoder", "but Gemma-3 27B in .* gives"),
        together=True,
    ),
    FileKind(
        "T5",
        "TextEncoderLoader",
        _names("text_encoders", "text_encoder", "encoder.block.0.layer.0.SelfAttention.q.weight", "shared.weight"),
        ("text_encoder", "is T5, the text encoder of LTX-Video before LTX-2"),
    ),
    FileKind(
        "another language model",
        "TextEncoderLoader",
        _names("text_encoders", "text_encoder", "model.layers.0.self_attn.q_proj.weight", "model.norm.weight"),
        ("text_encoder", "is another language model than Gemma-3"),
    ),
    FileKind(
        "vision part alone",
        "TextEncoderLoader",
        _names("text_encoders", "text_encoder", "vision_tower.vision_model.embeddings.patch_embedding.weight"),
        ("text_encoder", "is the vision part of a language model alone"),
    ),
    FileKind(
        "unknown form",
        "ModelLoader",
        _names("diffusion_models", "checkpoint", "blocks.0.self_attn.q.weight", "head.modulation"),
        ("checkpoint", "is in a form that LTX Duo does not know: found 2 tensors such as"),
    ),
    # Refused: other layouts, key formats and quantisations.
    FileKind(
        "transformer of diffusers",
        "ModelLoader",
        _names(
            "diffusion_models",
            "checkpoint",
            "transformer_blocks.0.attn1.to_q.weight",
            "transformer_blocks.0.attn1.norm_q.weight",
            "audio_proj_in.weight",
            file="diffusion_pytorch_model-00001-of-00008.safetensors",
        ),
        ("checkpoint", "is a transformer in the layout of diffusers.* Take the single .safetensors file"),
    ),
    FileKind(
        "VAE of diffusers",
        "VAELoader",
        lambda models: {
            "checkpoint": models.save(
                "vae",
                "diffusion_pytorch_model.safetensors",
                _moved(_only(models, VAE)[0], {VAE: ""})
                | {"decoder.up_blocks.0.resnets.0.conv1.conv.weight": torch.ones(4, 4)},
            )
        },
        ("checkpoint", "is a VAE in the layout of diffusers"),
    ),
    FileKind(
        "one of many parts",
        "ModelLoader",
        _names("diffusion_models", "checkpoint", "mlp.weight", file="model-00002-of-00009.safetensors"),
        ("checkpoint", "is part 2 of the 9 that a model was cut into"),
    ),
    FileKind(
        "whole folder of diffusers",
        "TextEncoderLoader",
        _diffusers_folder,
        ("text_encoder", "is a whole model in the layout of diffusers"),
    ),
    FileKind(
        "unknown prefix",
        "ModelLoader",
        _prefixed("net.dit."),
        ("checkpoint", "is a transformer whose names begin with 'net.dit.', another key format"),
    ),
    FileKind(
        "bitsandbytes nf4",
        "ModelLoader",
        _transformer_with(".weight.absmax", ".weight.quant_map", ".weight.quant_state.bitsandbytes__nf4"),
        ("checkpoint", r"is quantised by bitsandbytes \(nf4\), which LTX Duo does not read"),
    ),
    FileKind(
        "nunchaku",
        "ModelLoader",
        _transformer_with(".qweight", ".wscales", ".smooth_factor"),
        ("checkpoint", r"is quantised for nunchaku \(SVDQuant\)"),
    ),
    FileKind(
        "optimum-quanto",
        "ModelLoader",
        _transformer_with(".weight._data", ".weight._scale"),
        ("checkpoint", "is quantised by optimum-quanto"),
    ),
    FileKind(
        "GPTQ",
        "TextEncoderLoader",
        _gemma(
            extra=lambda _: {
                f"model.layers.0.mlp.up_proj.{name}": torch.ones(4, dtype=torch.int32)
                for name in ("qweight", "qzeros", "g_idx")
            }
        ),
        ("text_encoder", "is quantised by GPTQ"),
    ),
    FileKind(
        "AWQ",
        "TextEncoderLoader",
        _gemma(
            extra=lambda _: {
                f"model.layers.0.mlp.up_proj.{name}": torch.ones(4, dtype=torch.int32) for name in ("qweight", "qzeros")
            }
        ),
        ("text_encoder", "is quantised by AWQ or GPTQ"),
    ),
    # Refused: what is not whole.
    FileKind("file cut off", "ModelLoader", _unfinished(), ("checkpoint", "bytes of its tensors are missing")),
    FileKind(
        "unfinished download",
        "ModelLoader",
        _unfinished(".aria2"),
        ("checkpoint", r"Its download is not finished \(model.safetensors.aria2 lies beside it\): wait for it"),
    ),
    FileKind(
        "folder that lacks a shard",
        "TextEncoderLoader",
        _folder_without_a_shard,
        ("text_encoder", "lacks model-00002-of-00002.safetensors"),
    ),
    FileKind(
        "Gemma without a tokenizer",
        "TextEncoderLoader",
        _gemma(tokenizer=""),
        ("text_encoder", "has no tokenizer"),
    ),
    FileKind(
        "tokenizer that is none",
        "TextEncoderLoader",
        _gemma(tokenizer='{"version": "1.0"}'),
        ("text_encoder", "tokenizer.json cannot be read"),
    ),
]
