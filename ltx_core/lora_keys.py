"""What the tensors of LoRA files are called: the layer that a key belongs to, and which part of its change it is.

Parts have the names that ComfyUI's own adapters read, whatever the file calls them.
"""

import re

DOWN, UP, MID, ALPHA, DORA = "lora_down.weight", "lora_up.weight", "lora_mid.weight", "alpha", "dora_scale"
UP_BIAS = "lora_up.bias"
DIFFERENCE, BIAS_DIFFERENCE, SET = "diff", "diff_b", "set_weight"
BIASES = (BIAS_DIFFERENCE, UP_BIAS)
HADAMARD = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2")
KRONECKER = ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2")

# A name may follow for the adapter, as PEFT writes it: ".lora_A.default.weight".
_NAMED = r"(?:\.(?!weight$|bias$)[^.]+)?"
_PATTERNS = tuple(
    (part, re.compile(rf"(?P<layer>.+?){pattern}"))
    for part, pattern in (
        (DOWN, rf"(?:[._]lora[._]down|\.lora_A|\.lora_linear_layer\.down){_NAMED}(?:\.weight)?"),
        (UP, rf"(?:[._]lora[._]up|\.lora_B|\.lora_linear_layer\.up){_NAMED}(?:\.weight)?"),
        (UP_BIAS, rf"\.(?:lora_up|lora_B){_NAMED}\.bias"),
        (MID, r"\.lora_mid\.weight"),
        (DORA, rf"\.(?:dora_scale|lora_magnitude_vector{_NAMED}(?:\.weight)?)"),
        *((part, rf"\.{part}") for part in (ALPHA, *HADAMARD, *KRONECKER, DIFFERENCE, BIAS_DIFFERENCE, SET)),
        # Adapters that are known by name only.
        *(
            (part, rf"\.{part}")
            for part in ("reshape_weight", "w_norm", "b_norm", r"oft_\w+", r"boft_\w+", r"[ab][12]\.weight", "glora_.+")
        ),
    )
)
PARTS = (DOWN, UP, UP_BIAS, MID, ALPHA, DORA, *HADAMARD, *KRONECKER, DIFFERENCE, BIAS_DIFFERENCE, SET)

_MARK = re.compile(r"lora|lokr|hada|\.diff")


def split(key: str) -> tuple[str, str] | None:
    """The layer as the file calls it, and the part; None for what is in no LoRA.

    Of adapters that cannot be used, such as OFT, the part is not one of PARTS.
    """
    for part, pattern in _PATTERNS:
        if found := pattern.fullmatch(key):
            return found["layer"], part
    return None


def is_lora(key: str) -> bool:
    """Whether a tensor of this name tells that a file is a LoRA: other files have none such."""
    if _MARK.search(key) is None:
        return False
    found = split(key)
    return found is not None and (found[1] in (DOWN, UP, DIFFERENCE, BIAS_DIFFERENCE) or "_w1" in found[1])
