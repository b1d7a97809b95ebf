"""The table of comparisons: every measured error of a run, printed at its end and written into README.md on request."""

import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"

# Comparisons that differ in these words alone share a row of README.md; the terminal shows each by itself.
SHARED = (
    (r"(sound only.*)\baudio latent", r"\1sound's latent"),  # there is no video
    (r"\b(positive|negative) (video|audio) context", "contexts"),
    (r"\b(positive|negative) conditioning", "conditioning"),
    (r"^(whole run, [\w .-]+), .*(?=: )", r"\1"),
    (r"\b(cond|negative|perturbed|isolated)\b", "each pass"),
    (r"(?<!to-)(?<!upsampled )\b(video|audio)(?= (velocity|latent|positions)\b|,|:|$)", "video and audio"),
    (r"\b(sigmas,|Euler step|resample|renoise, strength|file, strength) [\d.]+", r"\1 N"),
    (r"\d+ (tokens|mel frames|latent frames|samples)\b", r"N \1"),
    (r"(?<=positions )\d+x\d+x\d+@[\d.]+", "of any size"),
    (r"(?<=tiles )[\d/]+ px [\d/]+ frames", "of any size"),
    (r"^image \(.*\) to \(.*\)$", "image to the stage's size"),
    (r"^(upsampler|upsample normalised,) (x[\d.]+( rational)?|temporal x2)", r"\1 of every scale"),
    (r"^guidance ModalityGuidance.*", "guidance of every preset"),
)


@dataclass(frozen=True)
class Row:
    """One comparison: `error` is max |ours - reference| / max |reference| unless `what` names another unit."""

    subject: str
    what: str
    reference: str
    error: float
    tolerance: float


@dataclass
class ParityTable:
    """Checks results against a reference and keeps what was measured."""

    rows: list[Row] = field(default_factory=list)
    mistakes: dict[str, float] = field(default_factory=dict)
    subject: str = ""

    def check(self, what: str, reference_name: str, ours: Tensor, reference: Tensor, tolerance: float) -> float:
        """Asserts max|ours - reference| / max|reference| <= tolerance; NaN fails.  Tolerance 0 asks for equal bits."""
        assert ours.shape == reference.shape, f"{what}: shape {tuple(ours.shape)}, reference {tuple(reference.shape)}"
        ours, reference = ours.double(), reference.double()
        assert torch.isfinite(reference).all(), f"{what}: the reference is not finite"
        scale = reference.abs().max().clamp_min(1e-30)
        return self.add(what, reference_name, ((ours - reference).abs().max() / scale).item(), tolerance)

    def add(self, what: str, reference_name: str, error: float, tolerance: float) -> float:
        """Keeps an error that was measured elsewhere, and asserts that it is within the tolerance."""
        self.rows.append(Row(self.subject, what, reference_name, error, tolerance))
        assert error <= tolerance, f"{what} against {reference_name}: {error:.2e} > {tolerance:.1e}"
        return error

    def add_mistake(self, what: str, times: float) -> None:
        """Keeps by how many times its bar a planted mistake moved a final result."""
        self.mistakes[what] = times

    def worst(self) -> list[Row]:
        """One row for each comparison, with the largest error of its repetitions, in the order of the run."""
        worst: dict[tuple[str, str, str, float], float] = {}
        for row in self.rows:
            key = (row.subject, row.what, row.reference, row.tolerance)
            worst[key] = max(worst.get(key, 0.0), row.error)
        return [Row(*key[:3], error, key[3]) for key, error in worst.items()]

    def lines(self) -> list[str]:
        """For the terminal."""
        lines = [f"{row.error:9.1e} (<= {row.tolerance:.3g})  {row.what}  [{row.reference}]" for row in self.worst()]
        return lines + [f"{times:8.1f}x the bar: planted mistake, {what}" for what, times in self.mistakes.items()]

    def markdown(self) -> str:
        """Tables by subject; a row has the largest error of the comparisons that it stands for, and their number."""
        folded: dict[str, dict[tuple[str, str, float], list[float]]] = defaultdict(lambda: defaultdict(list))
        for row in self.worst():
            what = row.what
            for words, shared in SHARED:
                what = re.sub(words, shared, what)
            folded[row.subject][what, row.reference, row.tolerance].append(row.error)
        parts = []
        for subject, rows in sorted(folded.items()):
            parts += [
                "",
                f"### {subject}",
                "",
                "| what | reference | comparisons | error | bar |",
                "|---|---|---|---|---|",
            ]
            for (what, reference, bar), errors in rows.items():
                parts.append(f"| {what} | {reference} | {len(errors)} | {max(errors):.1e} | {bar:.3g} |")
        if self.mistakes:
            parts += ["", "### Planted mistakes", "", "| mistake | how far beyond the bar |", "|---|---|"]
            parts += [f"| {what} | {times:.0f} times |" for what, times in self.mistakes.items()]
        return "\n".join(parts).strip() + "\n"

    def write(self, path: Path, head: str) -> None:
        """Replaces what stands between the marks in a Markdown file."""
        before, rest = path.read_text().split(BEGIN)
        after = rest.split(END)[1]
        path.write_text(f"{before}{BEGIN}\n\n{head}\n\n{self.markdown()}\n{END}{after}")


TABLE = ParityTable()
