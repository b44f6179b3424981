#!/usr/bin/env bash
# Collect what visit.sh needs beside torch, numpy, safetensors and transformers, in .wheels/ and .golden/, which git
# ignores. Run it where pip reaches an index, and take both folders along: `benchmarks/gpu/pack.sh [PACKAGE...]`.
# Only MoGe needs OpenCV and SciPy, which many machines have: `pack.sh opencv-python-headless scipy` takes them along.
set -euo pipefail
cd "$(dirname "$0")/../.."
rm -rf .wheels
platforms=(manylinux_2_28 manylinux_2_27 manylinux_2_24 manylinux_2_17 manylinux2014)
python3 -m pip download --quiet --no-deps --only-binary=:all: --python-version "${PYTHON_VERSION:-3.12}" --implementation cp \
  $(printf -- "--platform=%s_x86_64 " "${platforms[@]}") --dest .wheels \
  dlr-moge==2.0.0 dlr-utils3d==1.3 nvidia-ml-py pytest pluggy iniconfig "$@"
rm -rf .golden
if [ -d ../shared/golden ]; then
  mkdir .golden
  cp -r ../shared/golden/{*.py,geometrycrafter,tapip3d,wilor} .golden/
fi
du -sh .wheels .golden 2>/dev/null
