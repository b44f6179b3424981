"""The shortest pipeline that writes a store: no model, as a file's text, for tests that add to it."""

PLAIN = """
name: plain
segment: {size: 8, overlap: 2}
stages:
  - {slot: decode, backend: geoflow.stages.decode, num_cpus: 0.5}
  - {slot: stitch, backend: geoflow.stages.stitch, num_cpus: 0.5}
  - {slot: write, backend: geoflow.stages.write, num_cpus: 0.5, params: {rgb: true}}
"""
