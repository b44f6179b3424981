"""ViPE's SLAM core (Huang et al. 2025), after DROID-SLAM (Teed and Deng 2021), in plain PyTorch.

`checkpoint.from_checkpoint(path)` gives a `slam.Slam`; its `run(frames)` gives poses, intrinsics and keyframes' depth.
"""
