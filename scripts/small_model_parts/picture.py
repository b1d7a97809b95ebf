"""What makes the small video VAE keep a picture: the first frame of a film shows the image it began with, blurred.

Encoder and decoder get these weights beside their random ones.  A latent cell of 32 x 32 pixels holds the average
colours of 16 cells of 8 x 8, for two halves of its time; the decoder draws them with linear interpolation in space and
time.  A constant channel, far larger than the rest, keeps the pixel norms from changing contrast; the decoder also
carries each colour negated, as silu(x) - silu(-x) = x.

Channel orders are those of the engine's `patchify`, `space_to_depth` and `depth_to_space`.
"""

import torch
from torch import Tensor

Shape = tuple[int, ...]

COLOURS = 3
CELLS = 12  # colour, and row and column of an 8 x 8 cell in its 16 x 16 pixels
ENCODER_CONSTANT, ENCODER_LEVEL = COLOURS, 80.0  # channel and value of the constant
DECODER_CONSTANT, DECODER_LEVEL = 4 * CELLS, 8.0
FIRST_CELL = 4  # the encoder's convolution channels before the cells: their outputs hold averages already

# Where a new pixel lies between the old ones before, at and after it.
_HALVES = ((0.25, 0.75, 0.0), (0.0, 0.75, 0.25))
_QUARTERS = ((0.375, 0.625, 0.0), (0.125, 0.875, 0.0), (0.0, 0.875, 0.125), (0.0, 0.625, 0.375))
# A new frame between two old ones, then the old one: the very first is dropped, so that frame 0 stays itself.
_TIMES = ((0.5, 0.5, 0.0), (0.0, 1.0, 0.0))


# The constant's channel in the input of each layer that gets it.
ENCODER_CONSTANT_INPUT = {
    **{f"down_blocks.{number}.conv.conv.weight": ENCODER_CONSTANT for number in (1, 3, 5, 7)},
    "conv_out.conv.weight": ENCODER_CONSTANT,
}
DECODER_CONSTANT_INPUT = {
    "up_blocks.1.conv.conv.weight": DECODER_CONSTANT,
    "up_blocks.3.conv.conv.weight": CELLS,
    "up_blocks.5.conv.conv.weight": COLOURS,
    "up_blocks.7.conv.conv.weight": COLOURS,
    "conv_out.conv.weight": 2 * COLOURS,
}


def colour_of_latent() -> Tensor:
    """(128,) for each latent channel the colour that it is a cell of, or 3 for those that are no cell."""
    colours = torch.full((128,), COLOURS)
    colours[8 * FIRST_CELL : 8 * (FIRST_CELL + CELLS)] = torch.arange(COLOURS).repeat_interleave(8 * CELLS // COLOURS)
    return colours


def encoder_weight(name: str, shape: Shape) -> Tensor:
    """Causal convolutions: the frame itself is the last of three."""
    weight = torch.zeros(shape)
    if name == "conv_in.conv.weight":
        for colour in range(COLOURS):
            weight[colour, colour * 16 : colour * 16 + 16, 2, 1, 1] = 1 / 16
    elif name == "down_blocks.5.conv.conv.weight":
        # Channel 8 * (1 + colour) + 4 * time + 2 * row + column of the output.
        for colour in range(COLOURS):
            weight[1 + colour, colour, 2, 1, 1] = 1
    elif name == "down_blocks.7.conv.conv.weight":
        for cell in range(CELLS):
            colour, place = divmod(cell, 4)
            weight[FIRST_CELL + cell, [8 * (1 + colour) + place, 8 * (1 + colour) + 4 + place], 2, 1, 1] = 0.5
    elif name == "conv_out.conv.weight":
        # Undoes the norm, and the half that is left of silu near zero.
        gain = 2 * ENCODER_LEVEL * shape[1] ** -0.5
        for channel in range(shape[1]):
            weight[channel, channel, 2, 1, 1] = 0 if channel == ENCODER_CONSTANT else gain
    return weight


def decoder_weight(name: str, shape: Shape) -> Tensor:
    """Convolutions over the frame before, itself, and the one after."""
    weight = torch.zeros(shape)
    if name == "conv_in.conv.weight":
        for cell in range(CELLS):
            for place in range(4):
                latent = 8 * (FIRST_CELL + cell) + place
                weight[4 * cell + place, [latent, latent + 4], 1, 1, 1] = 0.5
    elif name == "up_blocks.1.conv.conv.weight":
        for cell in range(CELLS):
            _enlarge(weight, cell, [4 * cell + place for place in range(4)], (2, 2, 2))
        _enlarge(weight, CELLS, [DECODER_CONSTANT] * 4, (2, 2, 2), constant=True)
    elif name == "up_blocks.3.conv.conv.weight":
        for colour in range(COLOURS):
            _enlarge(weight, colour, [4 * colour + place for place in range(4)], (2, 2, 2))
        _enlarge(weight, COLOURS, [CELLS] * 4, (2, 2, 2), constant=True)
    elif name == "up_blocks.5.conv.conv.weight":
        for channel in range(COLOURS + 1):
            _enlarge(weight, channel, [channel], (2, 1, 1), constant=channel == COLOURS)
    elif name == "up_blocks.7.conv.conv.weight":
        for colour in range(COLOURS):
            _enlarge(weight, colour, [colour], (1, 2, 2), smooth=True)
            _enlarge(weight, COLOURS + colour, [colour], (1, 2, 2), smooth=True, sign=-1)
        _enlarge(weight, 2 * COLOURS, [COLOURS], (1, 2, 2), constant=True)
    elif name == "conv_out.conv.weight":
        gain = DECODER_LEVEL * shape[1] ** -0.5
        for colour in range(COLOURS):
            for column in range(4):
                for row in range(4):
                    taps = torch.outer(torch.tensor(_QUARTERS[row]), torch.tensor(_QUARTERS[column])) * gain
                    weight[16 * colour + 4 * column + row, colour, 1] = taps
                    weight[16 * colour + 4 * column + row, COLOURS + colour, 1] = -taps
    return weight


def _enlarge(
    weight: Tensor,
    target: int,
    sources: list[int],
    stride: tuple[int, int, int],
    *,
    smooth: bool = False,
    constant: bool = False,
    sign: float = 1,
) -> None:
    """Makes `target` from `sources`: one channel for all new places, or one for each of the four in a frame."""
    times, rows, columns = stride
    for time in range(times):
        for row in range(rows):
            for column in range(columns):
                place = (2 * row + column) % len(sources)
                output = ((target * times + time) * rows + row) * columns + column
                taps = torch.zeros(3, 3, 3)
                if smooth:
                    taps[1] = torch.outer(torch.tensor(_HALVES[row]), torch.tensor(_HALVES[column]))
                elif times == 2 and not constant:
                    taps[:, 1, 1] = torch.tensor(_TIMES[time])
                else:
                    taps[1, 1, 1] = 1
                weight[output, sources[place]] += sign * taps
