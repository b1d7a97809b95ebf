"""What is planted can still be planted; whether tests see it, `run.py` asks."""

from collections import Counter

import pytest

from .run import PACK, Plant, read_plants

PLANTS = read_plants()


def test_each_name_stands_once():
    assert [name for name, count in Counter(plant.name for plant in PLANTS).items() if count > 1] == []


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.name)
def test_it_can_be_planted(plant):
    assert plant.stale() is None
    assert plant.new != plant.old
    if plant.file.endswith(".py"):
        compile((PACK / plant.file).read_text(encoding="utf-8").replace(plant.old, plant.new), plant.file, "exec")


def test_stale_ones_are_told(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\nx = 1\n")
    (tmp_path / "test_a.py").touch()

    def plant(old: str, file: str = "a.py", ask: str = "test_*.py") -> Plant:
        return Plant("a plant", file, old, "y", (ask,))

    assert plant("x = 1\nx = 1").stale(tmp_path) is None
    assert "2 times" in plant("x = 1").stale(tmp_path)
    assert "0 times" in plant("z").stale(tmp_path)
    assert "gone" in plant("x", file="b.py").stale(tmp_path)
    assert "check_b.py" in plant("x = 1\nx = 1", ask="check_b.py").stale(tmp_path)
