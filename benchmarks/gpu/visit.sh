#!/usr/bin/env bash
# Measure everything that needs a GPU, most telling first, in under eight minutes: `benchmarks/gpu/visit.sh [OUT]`.
# Needs Python with torch, numpy, safetensors and transformers; neither Ray nor a network. See README.md beside this file.
set -euo pipefail
cd "$(dirname "$0")/../.."
PYTHON=${PYTHON:-python3}
if compgen -G ".wheels/*.whl" >/dev/null; then
  site=$(mktemp -d)
  trap 'rm -rf "$site"' EXIT
  "$PYTHON" -m pip install --quiet --no-index --no-deps --no-compile --target "$site" .wheels/*.whl
  export GEOFLOW_VISIT_SITE=$site
fi
if [ -d .golden ]; then export GEOFLOW_GOLDEN=$PWD/.golden; fi
"$PYTHON" benchmarks/gpu/visit.py "$@"
