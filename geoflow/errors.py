"""Every error that GeoFlow raises on purpose.

GeoFlowError
├── ConfigError         a pipeline, a setting or the command line is wrong      exit status 2
├── InputError          one input cannot be used                               exit status 3 (2 if all are unusable)
│   └── SourceChanged   a source has changed since it was read before
├── StageError          a stage failed on a segment
├── StoreError          the output cannot be written or read
├── EnvironmentBroken   a stage's runtime environment cannot be built
└── ClusterLost         the Ray under a run has ended                          exit status 3

A message says what was expected, what was found, and what to do next.
"""

from __future__ import annotations


class GeoFlowError(Exception):
    """Root of the tree; catch this to catch them all."""


class ConfigError(GeoFlowError):
    """A pipeline file, a parameter or a command-line value is wrong."""


class InputError(GeoFlowError):
    """One input (a video file, a frame folder, a manifest) cannot be used."""


class SourceChanged(InputError):
    """A source has other content than when a run, or a store, was made from it."""


class StageError(GeoFlowError):
    """A stage failed on a segment, or returned something that the field table forbids."""


class StoreError(GeoFlowError):
    """The output cannot be written, or a file is not a store of a known schema."""


class EnvironmentBroken(GeoFlowError):
    """A stage's runtime environment cannot be built or imported."""


class ClusterLost(GeoFlowError):
    """The Ray under a run ended before the run did; finished work is kept."""
