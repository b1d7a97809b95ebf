"""Workflows in API format for `comfyui_budgets.py`: ours and the one of ComfyUI's native nodes, on the same files."""

from pathlib import Path

import random_model

CHECKPOINT, LORA, UPSAMPLER, TEXT_ENCODER, PROJECTION = (
    path.name
    for path in (
        random_model.CHECKPOINT, random_model.LORA, random_model.UPSAMPLER, random_model.TEXT_ENCODER,
        random_model.PROJECTION,
    )
)  # fmt: skip
GGUF, GGUF_FILE = ("q4_k", "q8_0"), Path("diffusion_models", "transformer.gguf")
STAGE_TWO_SIGMAS = "0.909375, 0.725, 0.421875, 0.0"
FPS = 24.0
# What the nodes do, by their names in the graphs.
STAGE_ONE, UPSAMPLE, STAGE_TWO, DECODE = "stage one", "upsampler", "stage two", "decode"


def ours(row, text_width: int, steps: int, seed: int, stg_block: int) -> dict:
    """Stage one with four guidance passes, upsampler, stage two with the LoRA, decode."""
    graph = {
        "model": _node(
            "LTXDuoModelLoader", checkpoint=GGUF_FILE.name if row.weights in GGUF else CHECKPOINT, weight_dtype="auto"
        ),
        "lora": _node(
            "LTXDuoLoraLoader", model=_from("model"), lora=LORA, strength_stage_one=0.0, strength_stage_two=1.0
        ),
        "vae": _node("LTXDuoVAELoader", checkpoint=CHECKPOINT, audio_file="same file"),
        "upscale model": _node("LTXDuoUpsamplerLoader", upsampler=UPSAMPLER),
        **_texts(text_width),
        "guidance": _node(
            "LTXDuoGuidance", preset="custom", video_cfg=3.0, video_stg=1.0, video_modality=3.0, video_rescale=0.7,
            audio_cfg=7.0, audio_stg=1.0, audio_modality=3.0, audio_rescale=0.7, stg_blocks=str(stg_block), skip_step=0,
        ),
        STAGE_ONE: _node(
            "LTXDuoStageOneSampler", model=_from("lora"), vae=_from("vae"), positive=_from("positive"),
            negative=_from("negative"), guidance=_from("guidance"), width=row.width, height=row.height,
            frames=row.frames, fps=FPS, steps=steps, seed=seed, noise_device="cpu",
        ),
        UPSAMPLE: _node(
            "LTXDuoLatentUpsampler", latent=_from(STAGE_ONE), upsampler=_from("upscale model"), vae=_from("vae")
        ),
        STAGE_TWO: _node(
            "LTXDuoStageTwoSampler", model=_from("lora"), vae=_from("vae"), positive=_from("positive"),
            latent=_from(UPSAMPLE), noise="continue stage one", seed=0, audio="stage one", clean_background=True,
            noise_device="cpu",
        ),
        DECODE: _node(
            "LTXDuoAVDecode", latent=_from(STAGE_TWO), vae=_from("vae"), tiling="auto", tile_size=768,
            tile_overlap=64, tile_frames=80, tile_frame_overlap=24,
        ),
        "end": _node("ProbeEnd", result=_from(DECODE, 1), more=_from(DECODE, 2)),
    }  # fmt: skip
    return graph if row.gpus == 1 else _shared(graph, row.gpus)


def _shared(graph: dict, gpus: int) -> dict:
    """The same with both stages on several GPUs."""
    graph["shared"] = _node("LTXDuoSeveralGPUs", model=graph[STAGE_ONE]["inputs"]["model"], max_gpus=gpus)
    for stage in (STAGE_ONE, STAGE_TWO):
        graph[stage]["inputs"]["model"] = _from("shared")
    return graph


def clip(row, text_width: int, steps: int, seed: int, stg_block: int) -> dict:
    """`ours` as people run it: from an image and a prompt of 100 words, which is another one each time, to an MP4."""
    graph = ours(row, text_width, steps, seed, stg_block)
    del graph["negative"], graph["end"]
    prompt = " ".join(f"word{seed}" for _ in range(100))
    graph |= {
        "text encoder": _node(
            "LTXDuoTextEncoderLoader", text_encoder=TEXT_ENCODER, projection=PROJECTION, device="default"
        ),
        "positive": _node(
            "LTXDuoTextEncode", text_encoder=_from("text encoder"), prompt=prompt, negative_prompt="blurry, still",
        ),
        "picture": _node("EmptyImage", width=row.width, height=row.height, batch_size=1, color=0x336699),
        "image": _node("LTXDuoImageCondition", image=_from("picture"), frame=0, strength=1.0, crf=-1),
        "end": _node("SaveVideo", video=_from(DECODE), filename_prefix="clip", format="auto", codec="auto"),
    }  # fmt: skip
    for stage in (STAGE_ONE, STAGE_TWO):
        graph[stage]["inputs"]["conditions"] = _from("image")
    graph[STAGE_ONE]["inputs"]["negative"] = _from("positive", 1)
    return graph


def on_core_objects(row, text_width: int, steps: int, seed: int, stg_block: int) -> dict:
    """As `ours`, on what ComfyUI's own loaders give: MODEL, another MODEL with the LoRA, VAEs, latent upscale model."""
    graph = ours(row, text_width, steps, seed, stg_block)
    del graph["vae"]
    graph |= {
        "model": _node("CheckpointLoaderSimple", ckpt_name=CHECKPOINT),
        "lora": _node("LoraLoaderModelOnly", model=_from("model"), lora_name=LORA, strength_model=1.0),
        "audio vae": _node("LTXVAudioVAELoader", ckpt_name=CHECKPOINT),
        "upscale model": _node("LatentUpscaleModelLoader", model_name=UPSAMPLER),
    }
    graph[STAGE_ONE]["inputs"]["model"] = _from("model")
    for name in (STAGE_ONE, UPSAMPLE, STAGE_TWO, DECODE):
        graph[name]["inputs"]["vae"] = _from("model", 2)
    graph[DECODE]["inputs"]["audio_vae"] = _from("audio vae")
    return graph


def native(row, text_width: int, steps: int, seed: int, stg_block: int) -> dict:
    """As the template of ComfyUI 0.30.0 for LTX-2.3: CFG alone, so two passes in stage one; its own tiled decode."""
    return {
        "model": _node("CheckpointLoaderSimple", ckpt_name=CHECKPOINT),
        "lora": _node("LoraLoaderModelOnly", model=_from("model"), lora_name=LORA, strength_model=1.0),
        "audio vae": _node("LTXVAudioVAELoader", ckpt_name=CHECKPOINT),
        "upscale model": _node("LatentUpscaleModelLoader", model_name=UPSAMPLER),
        **_texts(text_width),
        "video": _node(
            "EmptyLTXVLatentVideo", width=row.width // 2, height=row.height // 2, length=row.frames, batch_size=1
        ),
        "audio": _node(
            "LTXVEmptyLatentAudio", frames_number=row.frames, frame_rate=int(FPS), batch_size=1,
            audio_vae=_from("audio vae"),
        ),
        "latent": _node("LTXVConcatAVLatent", video_latent=_from("video"), audio_latent=_from("audio")),
        "noise": _node("RandomNoise", noise_seed=seed),
        "sampler": _node("KSamplerSelect", sampler_name="euler"),
        "sigmas one": _node(
            "LTXVScheduler", steps=steps, max_shift=2.05, base_shift=0.95, stretch=True, terminal=0.1,
            latent=_from("latent"),
        ),
        "guider one": _node("CFGGuider", model=_from("model"), positive=_from("positive"), negative=_from("negative"),
                            cfg=3.0),
        STAGE_ONE: _sampling("guider one", "sigmas one", "latent"),
        "parts one": _node("LTXVSeparateAVLatent", av_latent=_from(STAGE_ONE)),
        UPSAMPLE: _node(
            "LTXVLatentUpsampler", samples=_from("parts one"), upscale_model=_from("upscale model"),
            vae=_from("model", 2),
        ),
        "larger": _node("LTXVConcatAVLatent", video_latent=_from(UPSAMPLE), audio_latent=_from("parts one", 1)),
        "sigmas two": _node("ManualSigmas", sigmas=STAGE_TWO_SIGMAS),
        "guider two": _node("CFGGuider", model=_from("lora"), positive=_from("positive"), negative=_from("negative"),
                            cfg=1.0),
        STAGE_TWO: _sampling("guider two", "sigmas two", "larger"),
        "parts two": _node("LTXVSeparateAVLatent", av_latent=_from(STAGE_TWO)),
        DECODE: _node(
            "VAEDecodeTiled", samples=_from("parts two"), vae=_from("model", 2), tile_size=768, overlap=64,
            temporal_size=4096, temporal_overlap=4,
        ),
        "sound": _node("LTXVAudioVAEDecode", samples=_from("parts two", 1), audio_vae=_from("audio vae")),
        "end": _node("ProbeEnd", result=_from(DECODE), more=_from("sound")),
    }  # fmt: skip


def _sampling(guider: str, sigmas: str, latent: str) -> dict:
    return _node("SamplerCustomAdvanced", noise=_from("noise"), guider=_from(guider), sampler=_from("sampler"),
                 sigmas=_from(sigmas), latent_image=_from(latent))  # fmt: skip


def _texts(width: int) -> dict:
    return {
        name: _node("ProbeRandomText", seed=seed, width=width) for seed, name in enumerate(("positive", "negative"))
    }


def _node(kind: str, **inputs) -> dict:
    return {"class_type": kind, "inputs": inputs}


def _from(node: str, output: int = 0) -> list:
    return [node, output]
