"""Makes PyPI's torchvision and torchaudio importable beside a CPU build of PyTorch; changes nothing where they work.

PyPI has both as CUDA builds only.  ComfyUI and transformers import them for their Python code; their compiled
operators, which a CPU build cannot load, are not used by this project.
"""

import subprocess
import sys
import sysconfig
from pathlib import Path

SITE_PACKAGES = Path(sysconfig.get_paths()["purelib"])
HOOK = "torchvision_cpu_ops"

# torchvision describes two operators to PyTorch that only its compiled half declares.
HOOK_SOURCE = '''"""Declares torchvision's operators when it is imported; its compiled half does not load."""

import sys


class _DeclareOperators:
    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            import torch

            self.library = torch.library.Library("torchvision", "DEF")
            self.library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            self.library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            sys.modules[__name__].declared = self
        return None


sys.meta_path.insert(0, _DeclareOperators())
'''


def imports(module: str) -> bool:
    return subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True).returncode == 0


def main() -> None:
    import torch

    if torch.version.cuda is not None:
        return
    if not imports("torchvision"):
        (SITE_PACKAGES / f"{HOOK}.py").write_text(HOOK_SOURCE)
        (SITE_PACKAGES / f"{HOOK}.pth").write_text(f"import {HOOK}\n")
    if not imports("torchaudio"):
        for library in (SITE_PACKAGES / "torchaudio" / "lib").glob("*.so"):
            library.unlink()
    for module in ("torchvision", "torchaudio"):
        if not imports(module):
            sys.exit(f"{module} cannot be imported beside torch {torch.__version__}")


if __name__ == "__main__":
    main()
