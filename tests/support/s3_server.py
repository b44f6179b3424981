"""An S3-compatible server for tests, in a process of its own: moto's, which refuses to have some keys written.

    python s3_server.py PORT FILE

While FILE exists, no object may be written whose key REFUSED finds.
"""

from __future__ import annotations

import os
import re
import sys
from typing import Any

REFUSED = re.compile(r"/refused(\.h5|/\.writable)")  # a finished store, or the trial of a folder
_DENIED = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>'
)


def refusing(app: Any, while_exists: str) -> Any:
    def answer(environ: dict[str, Any], start_response: Any) -> Any:
        writes = environ["REQUEST_METHOD"] in ("PUT", "POST")
        if writes and REFUSED.search(environ["PATH_INFO"]) and os.path.exists(while_exists):
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response("403 Forbidden", [("Content-Type", "application/xml")])
            return [_DENIED]
        return app(environ, start_response)

    return answer


if __name__ == "__main__":
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import run_simple

    app = refusing(DomainDispatcherApplication(create_backend_app), sys.argv[2])
    run_simple("127.0.0.1", int(sys.argv[1]), app, threaded=True)
