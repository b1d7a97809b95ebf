"""What was measured in a run: printed at its end, and on request written into README.md."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .numbers import Number
from .studio import Clip

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


@dataclass(frozen=True)
class Row:
    """value >= bar, with `unit`; ceiling: what the autoencoders alone give."""

    name: str
    value: float
    bar: float
    unit: str = ""
    ceiling: float | None = None

    def __str__(self) -> str:
        beside = "" if self.ceiling is None else f"  (autoencoders alone: {self.ceiling:.3g})"
        sign = ">=" if self.value >= self.bar else "<"
        return f"{self.value:8.3g}{self.unit} {sign} {self.bar:.3g}  {self.name}{beside}"

    @property
    def cells(self) -> str:
        ceiling = "" if self.ceiling is None else f"{self.ceiling:.3g}"
        missed = "" if self.value >= self.bar else ", missed"
        return f"| {self.name} | {self.value:.3g}{self.unit} | {self.bar:.3g}{missed} | {ceiling} |"


@dataclass
class Measured:
    """numbers over the films; comparisons of two settings; mistakes: what they are called, where and how they show."""

    numbers: list[Row] = field(default_factory=list)
    comparisons: list[Row] = field(default_factory=list)
    mistakes: list[tuple[str, str, str]] = field(default_factory=list)

    def check(self, number: Number, given: str, clips: Sequence[Clip], ceiling: Sequence[Clip]) -> None:
        """Keeps a number over all clips of what is `given` and asserts that it reaches its bar."""
        value = number.over(clips)
        best = number.over(ceiling) if ceiling else None
        row = Row(f"{number.name} [{given}]", value, number.bar, number.unit, best)
        self.numbers.append(row)
        wrong = [f"{clip.take.name}: {number.of(clip):.3g}" for clip in clips if not number.fits(clip)]
        assert value >= number.bar, f"{row}; {wrong}"

    def compare(self, name: str, value: float, other: float, margin: float) -> None:
        """Keeps how much higher the first of two values is and asserts that it is by the margin."""
        row = Row(f"{name}: {value:.3g} over {other:.3g}", value - other, margin)
        self.comparisons.append(row)
        assert value >= other + margin, str(row)

    def lines(self) -> list[str]:
        """For the terminal."""
        planted = [f"planted: {name} [{take}]: {how}" for name, take, how in self.mistakes]
        return [*map(str, self.numbers), *map(str, self.comparisons), *planted]

    def markdown(self) -> str:
        parts = ["| what | measured | bar | autoencoders alone |", "|---|---|---|---|"]
        parts += [row.cells for row in self.numbers]
        parts += ["", "### Guidance", "", "| what | higher by | bar |", "|---|---|---|"]
        parts += [row.cells.removesuffix("  |") for row in self.comparisons]
        parts += ["", "### Planted mistakes", "", "| mistake | shows in | by |", "|---|---|---|"]
        parts += [f"| {' | '.join(mistake)} |" for mistake in self.mistakes]
        return "\n".join(parts) + "\n"

    def write(self, path: Path, head: str) -> None:
        """Replaces what stands between the marks in a Markdown file."""
        before, rest = path.read_text().split(BEGIN)
        after = rest.split(END)[1]
        path.write_text(f"{before}{BEGIN}\n\n{head}\n\n{self.markdown()}\n{END}{after}")


MEASURED = Measured()
