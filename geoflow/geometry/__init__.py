"""The mathematics: cameras, rigid motion, optical flow, stereo, fusion, structure from motion.

Independent of stages.
"""
