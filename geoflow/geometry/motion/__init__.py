"""Motion of camera and points: tracks in the image, relative motion, structure from motion."""
