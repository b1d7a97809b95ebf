"""Ids of nodes, model folders and choices: what several files say, each said once.  Imports nothing."""

MODEL_LOADER, LORA_LOADER, VAE_LOADER = "LTXDuoModelLoader", "LTXDuoLoraLoader", "LTXDuoVAELoader"
TEXT_ENCODER_LOADER, UPSAMPLER_LOADER = "LTXDuoTextEncoderLoader", "LTXDuoUpsamplerLoader"
SEVERAL_GPUS = "LTXDuoSeveralGPUs"
TEXT_ENCODE, GUIDANCE = "LTXDuoTextEncode", "LTXDuoGuidance"
PROMPT_LENGTH = "LTXDuoPromptLength"
IMAGE_CONDITION, SOUND_CONDITION = "LTXDuoImageCondition", "LTXDuoSoundCondition"
FILM_SOUND, RETAKE, EXTEND, REGION = "LTXDuoFilmSound", "LTXDuoRetake", "LTXDuoExtend", "LTXDuoRegion"
FILM_CONDITIONS = (FILM_SOUND, RETAKE, EXTEND, REGION)
REFERENCE_VIDEO, REFERENCE_VOICE = "LTXDuoReferenceVideo", "LTXDuoReferenceVoice"
STAGE_ONE_SAMPLER, STAGE_TWO_SAMPLER = "LTXDuoStageOneSampler", "LTXDuoStageTwoSampler"
SOUND_SAMPLER, SOUND_DECODE = "LTXDuoSoundSampler", "LTXDuoSoundDecode"
LATENT_UPSAMPLER, DECODE = "LTXDuoLatentUpsampler", "LTXDuoAVDecode"
SAVE_LATENT, LOAD_LATENT = "LTXDuoSaveLatent", "LTXDuoLoadLatent"

# ComfyUI's folders that each loader looks in.
MODEL_FOLDERS = ("checkpoints", "diffusion_models")
LORA_FOLDERS = ("loras",)
VAE_FOLDERS = ("checkpoints", "vae")
ENCODER_FOLDERS = ("text_encoders",)
PROJECTION_FOLDERS = ("checkpoints", "text_encoders", "diffusion_models")
CONNECTOR_FOLDERS = PROJECTION_FOLDERS
UPSAMPLER_FOLDERS = ("latent_upscale_models",)
DURATION_FOLDERS = ("model_patches",)

# ComfyUI's own nodes that give a MODEL of a file: the input that names it, and the folder that they look in.
CORE_MODEL_LOADERS = {"CheckpointLoaderSimple": "ckpt_name", "UNETLoader": "unet_name"}
CORE_PICTURE_VAES = ("CheckpointLoaderSimple", "VAELoader")  # give a VAE for the picture alone
CORE_MODEL_FOLDERS = {"CheckpointLoaderSimple": "checkpoints", "UNETLoader": "diffusion_models"}

SAME_FILE = "same file"  # the VAE loader's audio file, the model loader's connectors
CUSTOM, FROM_MODEL, NO_GUIDANCE = "custom", "from the model", "none"  # presets of guidance
HIGH_QUALITY = "high quality"
AUTO_BLOCKS = "auto"
RECIPE, BY_SIZE, OF_DISTILLED = "recipe", "by size", "distilled"  # samplers' and schedules' choices
HALF, FULL = "half", "full"  # the size that stage one works at
IN_PLACE, KEYFRAME = "in place", "keyframe"  # how an image on the first frame is shown
AUTO_KIND, DEV, DISTILLED = "auto", "dev", "distilled"  # whether a model is a distilled one
CONTINUE, NEW_SEED = "continue stage one", "new seed"  # where stage two's noise comes from
BOTH, PICTURE, SOUND = "picture and sound", "picture", "sound"  # what of a film is made anew
KEEP_SOUND, NEW_SOUND = "keep", "new"
CROP, PAD, STRETCH = "crop", "pad", "stretch"  # how an image gets the video's shape
WITHOUT, SAME = "none", "same"  # what stage two reads of a reference
FROM_LORA, FACTORS = "auto", ("1", "2", "3", "4")  # how much smaller a reference is than the film
FROM_STAGE_ONE, FROM_STAGE_TWO = "stage one", "stage two"  # whose sound is kept
