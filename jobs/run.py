"""ray job submit --working-dir . -- python jobs/run.py INPUT... -o OUT [the options of `geoflow run`]"""

from __future__ import annotations

import sys

from geoflow.__main__ import main

if __name__ == "__main__":
    sys.argv[1:1] = ["run"]
    main()
