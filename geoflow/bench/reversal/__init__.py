"""How often a reconstruction exchanges near and far, over many made-up films."""
