"""What a generation and a kind of model call for, as data: see `ModelVariant`.  New models are new records."""

from .kind import Kind, kind_of_name
from .records import MODEL_VARIANTS, RUN, RUN_NAMES, ModelVariant, is_run, variant_of

__all__ = ["MODEL_VARIANTS", "RUN", "RUN_NAMES", "Kind", "ModelVariant", "is_run", "kind_of_name", "variant_of"]
