"""ray job submit --working-dir . -- python jobs/verify.py OUT [--quick]"""

from __future__ import annotations

import sys

from geoflow.__main__ import main

if __name__ == "__main__":
    sys.argv[1:1] = ["verify"]
    main()
