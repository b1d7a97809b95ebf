"""A small LTX-2.3 trained on a drawn world: the world, what recognises it, and the training."""
