"""Makes the pictures in docs/: the registry's icon and the canvas's screenshot."""
