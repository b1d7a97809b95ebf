"""Prompts and notes of the shipped workflows."""

from .model_files import (
    CONTROL,
    DEV,
    DEV_BF16,
    DISTILLED,
    DISTILLED_BF16,
    GEMMA,
    GEMMA_FOLDER_PAGE,
    INPAINT,
    LORA,
    NIGHT,
    UPSAMPLER,
    VOICE,
    ModelFile,
)

LAKE = (
    "A calm mountain lake at sunset. Ripples run slowly across the water and break the reflection of the ridges; thin "
    "clouds drift over the peaks and the light fades from orange to violet. The camera glides forward just above the "
    "surface. Sound: small waves lapping at the shore, a light wind, a distant loon calling twice."
)
MUSICIAN = (
    "Close shot of a street musician with a grey beard playing a battered steel guitar under a railway bridge in the "
    "rain. His fingers move quickly over the strings, drops fall from the edge of the bridge behind him, people with "
    'umbrellas pass out of focus. He looks up and says with a smile: "One more before the train." The camera pushes in '
    "slowly. Sound: bright slide guitar with a long echo, steady rain, a train rolling over the bridge."
)
TRANSITION = (
    "One continuous shot without a cut. The camera leaves the first picture, moves slowly forward and to the right, "
    "and comes to rest on the last picture; everything on the way changes smoothly, clouds and shadows move with the "
    "light. Sound: a soft wind that grows and fades, distant birds, gravel under slow steps."
)
KITCHEN = (
    "Morning in a small kitchen. A woman in a yellow jumper cracks two eggs into a hot pan, the whites bubble and turn "
    'opaque, steam rises into the window light. She glances at the camera and says: "Breakfast in two minutes." '
    "Hand-held camera, close. Sound: sizzling butter, a wooden spoon on the pan, a radio playing quietly next door."
)

SPEECH = (
    "A woman with short dark hair sits in a radio studio and speaks into a microphone, close, calm and friendly. She "
    'says: "Good evening, and welcome. Tonight we listen to the sea." Her lips move with every word, she blinks and '
    "tilts her head; the needles of the mixing desk behind her follow her voice. The camera stands still."
)
STORM = (
    "A thunderstorm over a house with a tin roof: heavy rain drums on the metal, gusts of wind rattle a loose shutter, "
    'thunder rolls from far left to near right and cracks once. Under it, close and calm, an old man says: "Count the '
    'seconds, then you know how far it is." Recorded in the room, warm and clear. No music.'
)
FOOTSTEPS = (
    "A woman in heavy boots walks up the wooden stairs of an old empty house; a door at the top falls shut behind her. "
    "Sound: slow footsteps on creaking boards, each in time with what is seen, wind behind the windows, the door that "
    "closes with a dull bang. No music, no speech."
)
RETAKEN = (
    "The man at the cafe table puts down his cup, looks straight into the camera and laughs; behind him people pass by "
    'as before. He says: "All right, once more." The camera stands still, the light stays the same. Sound: his warm '
    "voice, the cup on the saucer, the quiet noise of the cafe going on."
)
GOING_ON = (
    "The shot goes on without a cut: the train comes out of the forest and rolls over the high stone bridge, smoke "
    "drifts back over its carriages, the camera keeps following it at the same speed. Sound: the steady beat of the "
    "wheels grows hollow on the bridge, one long whistle that echoes from the valley."
)
PAINTED = (
    "On the table stands a glass vase with red tulips; their petals tremble a little in the draught, and light falls "
    "through the water. Everything around it stays as it is, in the same light and in the same perspective."
)
CONTROLLED = (
    "A robot of brushed brass walks through a greenhouse of glass and steel, its joints turning smoothly, warm light "
    "from lamps between the plants; drops run down the panes behind it. Sound: soft metallic steps on stone, a quiet "
    "whirr of its joints, water dripping from the leaves."
)
NIGHT_FALLS = (
    "The same scene at night: a deep blue sky with a few stars, lamps that are lit and throw warm pools of light, "
    "windows that glow, long soft shadows. Everything moves as it did by day."
)
SPOKEN = (
    "[VISUAL]: Medium close shot of an old fisherman with a white beard and a blue woollen cap on a jetty at dawn. He "
    "speaks into the camera, calm and friendly, and nods; masts and gulls are out of focus behind him. The camera "
    "stands still. "
    "[SPEECH]: The sea is quiet today. We go out at six, and by noon we are home again. "
    "[SOUNDS]: A calm voice at moderate volume, close to the microphone; small waves against the jetty, a gull far off."
)
NEGATIVE = (
    "blurry, low quality, overexposed, still image, flicker, watermark, subtitles, distorted shapes, muffled or "
    "distorted sound, hiss"
)

TWO_STAGE_FILES = (DEV, LORA, UPSAMPLER, GEMMA)
DISTILLED_FILES = (DISTILLED, UPSAMPLER, GEMMA)
PREVIEW_FILES = (DEV, GEMMA)
CONTROL_FILES = (DISTILLED, CONTROL, UPSAMPLER, GEMMA)
EDIT_FILES = (DISTILLED, NIGHT, GEMMA)
INPAINT_FILES = (DISTILLED, INPAINT, GEMMA)
VOICE_FILES = (DEV, LORA, VOICE, UPSAMPLER, GEMMA)


def files(needed: tuple[ModelFile, ...], loaders: str = "model, VAE, projection") -> str:
    """The note that says which files go where."""
    rows = [f"| [{_short(file)}]({file.page}) | {file.folder} | {file.size} |" for file in needed]
    large = DISTILLED_BF16 if DISTILLED in needed else DEV_BF16
    return (
        "| file | folder in models | size |\n|---|---|---|\n" + "\n".join(rows) + "\n\n"
        f"The checkpoint is chosen in **three** loaders: {loaders}.\n\n"
        f"For the publisher's own numbers: [{_short(large)}]({large.page}), {large.size}, and "
        f"[Gemma as a folder]({GEMMA_FOLDER_PAGE}), 25 GB."
    )


def _short(file: ModelFile) -> str:
    return file.name.removesuffix(".safetensors")


CARDS = (
    "| card | checkpoint | what runs: peak |\n|---|---|---|\n"
    "| 8 GB | fp8 | 768x512, 49 frames: not measured |\n"
    "| 12 GB | fp8 | 1536x1024, 49 frames: 9.1 GiB |\n"
    "| 16 GB | fp8 | 1536x1024, 121 frames: 13.7 GiB |\n"
    "| 24 GB | fp8, bf16 | the same; bf16: 17.7 GiB |\n"
    "| 32 GB and more | bf16 | the same: 25.7 GiB |\n\n"
    "Measured on an H100 that was allowed less than that. What does not fit is streamed: fp8 asks for 40 GB of the "
    "computer's memory, bf16 for 56 GB. Still smaller: GGUF or nvfp4 files in the model loader."
)

CARDS_2_5 = (
    "| card | model | what should run |\n|---|---|---|\n"
    "| 8 GB | int8 | 768x512, 49 frames |\n"
    "| 12 GB | int8 | 1536x1024, 49 frames |\n"
    "| 16 GB | int8 | 1536x1024, 121 frames |\n"
    "| 24 GB | int8, bf16 | the same |\n"
    "| 32 GB and more | bf16 | the same |\n\n"
    "Not measured; by the figures of LTX-2.3, whose fp8 file is larger. What does not fit is streamed: int8 asks for "
    "about 40 GB of the computer's memory, bf16 for 56 GB."
)
CARDS_2_0 = CARDS.replace("Measured on", "Measured with LTX-2.3, which is larger, on")
CARDS_SOUND = (
    "| card | checkpoint |\n|---|---|\n"
    "| 8 GB, 12 GB | fp8 |\n"
    "| 16 GB and more | fp8, bf16 |\n\n"
    "By size, not measured: the layers for sound are 6.6 GB in bf16, about half of it in fp8. The text encoder, "
    "9.4 GB, is streamed where it does not fit."
)

_SIZES = (
    "- Width and height: multiples of 64. Frames: 8n+1 (97, 121, 241).\n"
    "- Stage one makes picture and sound at half size, stage two refines the picture at the size you asked for.\n"
)

_PAINT = (
    "1. Load a film. Select *Preview Image*, press the triangle: it shows the first frame. Right click, *Copy Image*; "
    "select Load Image, Ctrl+V.\n"
    "2. Right click on it, *Open in Mask Editor*: paint **what is to change**.\n"
    "3. Describe **what is to be there**, press Run.\n\n"
    "- What is not painted comes out as it is.\n"
)

HOW = {
    "image-to-video": "## Image to video, two stages\n\n"
    "Load an image, describe **what moves and what is heard**, press Run.\n\n"
    f"{_SIZES}"
    "- A still result: say in the prompt what moves, or lower the image's strength.\n"
    "- More images: chain LTX Image Condition (frame -1 is the last).",
    "text-to-video": "## Text to video, two stages\n\n"
    "Describe the scene, **what moves and what is heard**, speech in quotes; press Run.\n\n"
    f"{_SIZES}"
    "- Try a small size first (768x512), then the same seed larger; or take the workflow preview-first.",
    "sound-to-video": "## Sound to video\n\n"
    "Load a sound and an image, describe **what is seen**, the spoken words in quotes; press Run.\n\n"
    "- The film has your sound, as it is, and is as long: *frames* comes from LTX Sound Condition. For your own length "
    "disconnect it.\n"
    "- *start*: where in the sound the film begins.\n"
    "- No image: bypass LTX Image Condition (Ctrl+B).",
    "text-to-sound": "## Text to sound\n\n"
    "Describe **what is heard**, spoken words in quotes; press Run.\n\n"
    "- *seconds*: up to about 20. Of the model only the layers for sound are loaded, a sixth.\n"
    "- A voice that you give: LTX Reference Voice with its *audio_vae*, and an ID-LoRA.\n"
    "- A film to this sound: save it, then the workflow *sound-to-video*.",
    "first-and-last-frame": "## First and last frame\n\n"
    "Load two images, describe **the way from one to the other**.\n\n"
    "- Frame 0 is the first, -1 the last.\n"
    "- Both images: the shape of the video, or they are cropped.\n"
    "- A jump at the end: more frames, or the last image's strength 0.8.",
    "film-sound": "## A sound for a film\n\n"
    "Load a film, describe **what is seen and what is heard**, press Run.\n\n"
    "- The picture comes out as it is. A sound that the film has gives way to the new one.\n"
    "- Size, length and frame rate come from the film.\n"
    "- A large film: disconnect *width* and *height*, set 768 and 512: faster, and the picture keeps its size.",
    "retake": "## Retake\n\n"
    "Load a film, set **start** and **end** in seconds, describe **what happens there**, press Run.\n\n"
    "- The rest comes out as it is, each frame and each sample.\n"
    "- *remake*: picture, sound or both. What stays guides what is made.\n"
    "- Size, length and frame rate come from the film; what exceeds whole steps of 64 pixels is cropped.",
    "extend": "## Extend\n\n"
    "Load a film, set **after** or **before** in seconds, describe **how it goes on**, press Run.\n\n"
    "- Half a second of the film beside what is added is made anew, so that both meet (*overlap*). The rest comes out "
    "as it is.\n"
    "- Longer: load the result and run again. *context* 5: only the last 5 s are seen, so that each run costs the "
    "same.\n"
    "- Size and frame rate come from the film; what exceeds whole steps of 64 pixels is cropped.",
    "region": f"## Region\n\n{_PAINT}- What moves: paint all places that it passes.",
    "reference-control": "## Control by a reference film\n\n"
    "Load a film, describe **what is to be seen in its shapes**, press Run.\n\n"
    "- The edges of the film lead; depth or poses do too: put another node in the place of Canny.\n"
    "- The LoRA acts in stage one; stage two refines freely.\n"
    "- Too strict: *attention_strength* 0.6.\n"
    "- Size, length and frame rate come from the film, in steps of 128 pixels.",
    "reference-edit": "## Edit by a reference film\n\n"
    "Load a film, describe **how it is to look**, press Run. For another edit take another IC-LoRA; docs/ic-loras.md "
    "lists them.\n\n"
    "- One stage at the film's own size (*size* full): stage two would take the edit back.\n"
    "- The film's own sound is kept. A silent film: bypass LTX Sound Condition (Ctrl+B).\n"
    "- Size, length and frame rate come from the film, in steps of 128 pixels.",
    "reference-inpaint": "## Inpaint and outpaint\n\n"
    f"{_PAINT}"
    "- A margin: set *left*, *top*, *right*, *bottom* of Pad Image for Outpainting; it is made anew, nothing has to be "
    "painted.\n"
    "- The IC-LoRA reads the film with the painted part in green (#66FF00).",
    "reference-voice": "## A voice for the film\n\n"
    "Load about five seconds of one clear voice and an image of **who speaks**, write the prompt in three parts, press "
    "Run.\n\n"
    "- *[VISUAL]*: what is seen, and that somebody speaks. *[SPEECH]*: the words. *[SOUNDS]*: how the voice sounds, "
    "and what else is heard.\n"
    "- Stage one makes the sound and hears the voice; stage two refines the picture.\n"
    "- Another voice comes out: *scale* 4 to 5. It sounds harsh: *scale* 2.\n"
    "- No image: bypass LTX Image Condition (Ctrl+B).",
    "distilled": "## Distilled checkpoint: 8 + 3 steps\n\n"
    "The fastest way: one pass a step, **no guidance and no negative prompt**. Stage one runs the model 8 times, not "
    "120.\n\n"
    "- The checkpoint is known by *distilled* in its file name; the steps of the sampler are not used.\n"
    "- Connect no LTX Guidance with CFG: a distilled model becomes grainy with it.\n"
    "- The distilled LoRA is not needed: the checkpoint holds it. The sound comes from stage two.",
    "distilled-lora": "## Dev checkpoint and distilled LoRA: 8 + 3 steps\n\n"
    "What ComfyUI's own templates do, to compare: the distilled LoRA at 0.5 in both stages, one pass a step, no "
    "negative prompt.\n\n"
    "- *schedule* distilled takes the 8 steps of distilled models; LTX Guidance stays on *none*.\n"
    "- Their stage two begins at 0.85: ManualSigmas with 0.85, 0.725, 0.4219, 0 at *sigmas*.\n"
    "- With the distilled checkpoint no LoRA is needed: workflow *distilled*.",
    "high-quality": "## High quality\n\n"
    "The vendor's recipe for quality: **res_2s**, 15 steps that run the model twice, with three passes each.\n\n"
    "- The distilled LoRA is on in both stages: 0.25 and 0.5.\n"
    "- *schedule* by size: larger and longer films stay noisy longer.\n"
    "- Time: 93 passes in stage one and 7 in stage two; the usual recipe has 120 and 3.",
    "keyframes": "## Keyframes\n\n"
    "Load the images, describe **the way from one to the next**.\n\n"
    "- All stand beside the film, the first too (*first_frame* keyframe): the film comes close to each, and moves "
    "more freely than with *in place*.\n"
    "- More: chain LTX Image Condition. Fewer: bypass one (Ctrl+B).\n"
    "- The sound comes from stage two, as at the vendor.",
    "one-stage": "## One stage\n\n"
    "The asked size at once, without upsampler and distilled LoRA.\n\n"
    "- *size* full: stage one works at width and height themselves, with four times the tokens of half.\n"
    "- For sizes up to about a megapixel; larger ones take much longer than in two stages.\n"
    "- LTX Retake, LTX Extend and LTX Region work here too: at the film's own size.",
    "preview-first": "## Preview first\n\n"
    "Stage one alone, at half size: each Run takes a new seed, shows a preview and keeps its latent in "
    "*output/latents*.\n\n"
    "1. Run until you like one. The files *preview_0000N* and *ltx-duo-preview_0000N* go together.\n"
    "2. Open the workflow **continue-from-preview**, choose that latent, give the same prompt, press Run.\n\n"
    "Sound is final already: stage two keeps it.",
    "continue-from-preview": "## Continue from a preview\n\n"
    "Choose a latent that the workflow **preview-first** saved (press r to see new ones), give the same prompt, "
    "press Run.\n\n"
    "- Size, length, frame rate, sound and random numbers come with the file: the result is what the whole workflow "
    "would have made.\n"
    "- Previews with image conditions: connect the same conditions to LTX Stage Two Sampler.\n"
    "- Another try of stage two alone: noise *new seed*.",
    "mixed-with-native": "## Mixed with core's LTX-2 nodes\n\n"
    "The grey nodes are ComfyUI's own (0.30 or newer). Latents, conditioning, sigmas, images and sound are the same "
    "types on both sides.\n\n"
    "- LTXVScheduler and ManualSigmas here say what LTX Duo's samplers do by themselves: change them to experiment.\n"
    "- LTXVSeparateAVLatent takes picture and sound apart; any node for video latents or sound latents fits there.\n"
    "- Create Video asks for the frame rate again: keep it equal to stage one's.",
    "from-core-loaders": "## With core's loaders\n\n"
    "The grey nodes are ComfyUI's own (0.30 or newer): whatever they load, LTX Duo samples. Load an image, describe "
    "**what moves and what is heard**, press Run.\n\n"
    "- The LoRA goes to stage two alone: two MODEL wires.\n"
    "- LTXVConditioning asks for the frame rate again: keep it equal to stage one's.\n"
    "- UNETLoader, GGUF loaders and LoRA stacks fit in the same places.",
}
