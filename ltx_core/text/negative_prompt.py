"""What guidance leads away from unless the user says something else."""

NEGATIVE_PROMPT = (
    "blurry, out of focus, overexposed, underexposed, low contrast, washed out, oversaturated, grainy, noisy, "
    "compression artifacts, watermark, logo, subtitles, captions, on-screen text, distorted anatomy, extra limbs, "
    "malformed hands, deformed face, unnatural skin, stiff or frozen motion, jitter, flicker, warped objects, "
    "inconsistent perspective, abrupt cuts, transitions, muffled or distorted sound, clipping, hiss, robotic voice, "
    "echo, sound out of sync with the picture, missing sound, wrong lip movement"
)
