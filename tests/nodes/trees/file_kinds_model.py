"""Models and connectors as people split, rename, move and convert them, with what else is chosen in their place.

Behind the rows: Lightricks/LTX-2#106, ComfyUI-LTXVideo#455, Wan2GP#288, ComfyUI#11864, ComfyUI-GGUF#398, #400.
"""

import json

import torch

from ltx_duo.tests.nodes.trees.file_kinds import (
    CHECKPOINT,
    CHECKPOINT_2_0,
    CONNECTORS,
    LORA,
    MODEL,
    MODEL_FILE,
    OTHER,
    PROJECTION,
    UPSAMPLER,
    VAE,
    FileKind,
    Inputs,
    Models,
    Tensors,
    config_beside,
    names,
    nothing,
    only,
    renamed,
    version,
)


def _transformer(models: Models) -> Tensors:
    return {name: tensor for name, tensor in only(models, MODEL)[0].items() if not name.startswith(CONNECTORS)}


def _model(change=lambda models, tensors: tensors, keep_metadata: bool = True, name: str = MODEL_FILE):
    """The model and its connectors in a file of their own, changed."""

    def write(models: Models) -> Inputs:
        tensors, metadata = only(models, MODEL)
        tensors = change(models, tensors)
        return {"checkpoint": models.save("diffusion_models", name, tensors, metadata if keep_metadata else {})}

    return write


def _prefixed(prefix: str):
    return _model(lambda _, tensors: renamed(tensors, MODEL, prefix))


def _model_with_config_beside(models: Models) -> Inputs:
    config_beside(models, "diffusion_models", "ltx/")
    return _model(keep_metadata=False, name="ltx/model.safetensors")(models)


def _model_with_another_config_beside(models: Models) -> Inputs:
    config_beside(models, "diffusion_models", "ltx/", transformer={"num_layers": 3})
    return _model(keep_metadata=False, name="ltx/model.safetensors")(models)


def _config_of_the_transformer_alone(models: Models) -> Inputs:
    config = {"config": json.dumps({"transformer": models.config["transformer"]})}
    return {"checkpoint": models.save("diffusion_models", MODEL_FILE, only(models, MODEL)[0], config)}


def _apart(prefix: str = MODEL, *, keep_metadata: bool = False, projection: bool = False, beside: bool = False):
    """Transformer and connectors in two files; the connectors' with their own prefix, metadata, and the projection."""

    def write(models: Models) -> Inputs:
        metadata = models.small()[1]
        connectors = renamed(only(models, *CONNECTORS)[0], MODEL, prefix)
        if projection:
            connectors |= only(models, PROJECTION)[0]
        if beside:
            config_beside(models, "diffusion_models")
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
    for name, tensor in only(models, *CONNECTORS)[0].items():
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


def _connectors_of_a_newer_model(models: Models) -> Inputs:
    metadata = {**models.small()[1], "model_version": "2.5.0"}
    connectors = models.save("text_encoders", OTHER, only(models, *CONNECTORS)[0], metadata)
    return {**_transformer_alone(models), "connectors": connectors}


def _connectors_of_an_older_model(models: Models) -> Inputs:
    return {**_transformer_alone(models), "connectors": CHECKPOINT_2_0}


def _projection_as_connectors(models: Models) -> Inputs:
    connectors = models.save("text_encoders", OTHER, only(models, PROJECTION)[0])
    return {**_transformer_alone(models), "connectors": connectors}


def _transformer_with(*suffixes: str):
    """The small model with quantised layers as another tool writes them: each suffix beside or instead of a weight."""

    def change(_: Models, tensors: Tensors) -> Tensors:
        layer = f"{MODEL}transformer_blocks.1.attn1.to_k"
        return {**tensors, **{f"{layer}{suffix}": torch.ones(4, dtype=torch.uint8) for suffix in suffixes}}

    return _model(change)


def _windows_names(models: Models) -> Inputs:
    _apart()(models)
    for kind, name in (("diffusion_models", MODEL_FILE), ("text_encoders", OTHER)):
        folder = models.folder(kind)
        (folder / "ltx").mkdir()
        (folder / name).rename(folder / "ltx" / name)
    return {"checkpoint": f"ltx\\{MODEL_FILE}", "connectors": f"ltx\\{OTHER}"}


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


ROWS = [
    FileKind("official checkpoint in the model loader", "ModelLoader", nothing),
    FileKind("official LoRA", "LoraLoader", nothing),
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
        "connectors of LTX-2.5",
        "ModelLoader",
        _connectors_of_a_newer_model,
        ("connectors", "is of LTX-2.3, but .*other.safetensors is of LTX-2.5; files of one generation belong together"),
        together=True,
    ),
    FileKind(
        "connectors of LTX-2.0",
        "ModelLoader",
        _connectors_of_an_older_model,
        ("connectors", "is of LTX-2.3, but .*is of LTX-2.0; files of one generation belong together"),
        together=True,
    ),
    FileKind(
        "VAE in place of the model",
        "ModelLoader",
        lambda models: {"checkpoint": models.save("checkpoints", "vae.safetensors", *only(models, VAE))},
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
        "checkpoint that calls itself LTX-2.0",
        "ModelLoader",
        version("2.0.1"),
        ("checkpoint", "says that it is of LTX-2.0, but its tensors are those of LTX-2.3"),
    ),
    FileKind(
        "transformer without sound",
        "ModelLoader",
        _model(lambda _, tensors: {name: t for name, t in tensors.items() if "audio" not in name}),
        ("checkpoint", "has no layers for sound: a model of video alone"),
    ),
    FileKind(
        "unknown form",
        "ModelLoader",
        names("diffusion_models", "checkpoint", "blocks.0.self_attn.q.weight", "head.modulation"),
        ("checkpoint", "is in a form that LTX Duo does not know: found 2 tensors such as"),
    ),
    FileKind(
        "transformer of diffusers",
        "ModelLoader",
        names(
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
        "one of many parts",
        "ModelLoader",
        names("diffusion_models", "checkpoint", "mlp.weight", file="model-00002-of-00009.safetensors"),
        ("checkpoint", "is part 2 of the 9 that a model was cut into"),
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
    FileKind("file cut off", "ModelLoader", _unfinished(), ("checkpoint", "bytes of its tensors are missing")),
    FileKind(
        "unfinished download",
        "ModelLoader",
        _unfinished(".aria2"),
        ("checkpoint", r"Its download is not finished \(model.safetensors.aria2 lies beside it\): wait for it"),
    ),
]
