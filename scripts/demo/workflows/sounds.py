"""The workflows of sound without a picture."""

from . import texts
from .canvas import Column, Group, Node, Workflow
from .pieces import (
    GUIDANCE,
    INPUTS,
    PLAYER,
    PROMPT_WIDE,
    RESULT,
    RESULT_WIDE,
    SAMPLING,
    STAGE_WIDE,
    models,
    notes,
    prompt,
)

TEXT_TO_SOUND = Workflow("text-to-sound", (
    notes("text-to-sound", texts.PREVIEW_FILES, texts.CARDS_SOUND),
    models(lora=False, upsampler=False),
    Column(PROMPT_WIDE, (Group("Prompt", INPUTS, (prompt(texts.STORM),)),)),
    Column(STAGE_WIDE, (
        Group("One stage, sound alone", SAMPLING, (
            Node("sound", "LTXDuoSoundSampler", "sampling", {},
                 {"model": ("model", 0), "positive": ("prompt", 0), "negative": ("prompt", 1),
                  "guidance": ("guidance", 0)}, report=True, control="randomize"),
            GUIDANCE,
        )),
    )),
    Column(RESULT_WIDE, (
        Group("Result", RESULT, (
            Node("decode", "LTXDuoSoundDecode", "result", {}, {"latent": ("sound", 0), "audio_vae": ("vae", 0)},
                 report=True),
            Node("save", "SaveAudioAdvanced", "result", {"filename_prefix": "audio/ltx-duo"},
                 {"audio": ("decode", 0)}, PLAYER),
        )),
    )),
))  # fmt: skip
