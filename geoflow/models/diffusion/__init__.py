"""Layers that several diffusion models share: those of Stable Diffusion (Rombach et al. 2022), and CLIP's."""
