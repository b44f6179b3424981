"""ray job submit --working-dir . -- python jobs/export.py OUT --to FORMAT -o FOLDER [--set NAME=VALUE]"""

from __future__ import annotations

import sys

from geoflow.__main__ import main

if __name__ == "__main__":
    sys.argv[1:1] = ["export"]
    main()
