"""How the camera and the points move: tracks in the image, relative motion, structure from motion."""
