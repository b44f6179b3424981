"""A whole run as one dataset: many videos, split for training, in the form that a training program reads.

`writing.export_dataset` is the way in. A format is a class of `kinds.DatasetKind`; what it needs of a video are the
frames of an episode, a `passage.Passage`.
"""

from __future__ import annotations
