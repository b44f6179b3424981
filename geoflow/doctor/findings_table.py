"""The findings on the console: one line each, with its remedy below."""

from __future__ import annotations

from typing import Any

from geoflow.doctor.checks import Finding, can_run

_COLOURS = {"ok": "green", "warning": "yellow", "failure": "red"}


def render_findings(pipeline: str, findings: list[Finding]) -> Any:
    from rich.table import Table
    from rich.text import Text

    failures = sum(finding.state == "failure" for finding in findings)
    warnings = sum(finding.state == "warning" for finding in findings)
    verdict = "can run here" if can_run(findings) else "cannot run here"
    caption = f"{pipeline} {verdict}: {failures} failures, {warnings} warnings"
    table = Table(box=None, show_header=False, caption=caption, caption_justify="left", pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        text = Text(finding.found)
        if finding.remedy:
            text.append(f"\n→ {finding.remedy}", style=_COLOURS[finding.state])
        table.add_row(Text(finding.state, style=_COLOURS[finding.state]), Text(finding.check), text)
    return table
