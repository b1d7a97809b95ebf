"""How the small LTX-2.3 is trained: pieces that can be stopped and gone on with, each from the drawn world alone."""
