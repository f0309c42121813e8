"""What a flow run shows of a build on Prefect's page: a bar a language, a table of counts, a summary with links."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from spanferry.flows.report import BuildResult

if TYPE_CHECKING:
    from uuid import UUID

_COUNTS = ("rows", "kept", "dropped", "spans", "carried", "lost")


class ProgressBar:
    """The progress artifact of one language: made when the first shard is awaited, moved a shard at a time.

    Args:
        language: its name in the build.
        total: rows of the language.
        done: those of them that were done before.
    """

    def __init__(self, language: str, total: int, done: int) -> None:
        from prefect.artifacts import create_progress_artifact

        self._language, self._total, self._done, self._failed = language, total, done, 0
        # Prefect's own types leave open whether it is awaited; outside of a coroutine it is not.
        made = create_progress_artifact(self._percent, artifact_key("progress", language), self._text)
        self._id = cast("UUID", made)

    def advance(self, rows: int, *, failed: bool = False) -> None:
        """Say that ``rows`` more are through, or cannot be done."""
        from prefect.artifacts import update_progress_artifact

        if failed:
            self._failed += rows
        else:
            self._done += rows
        update_progress_artifact(self._id, self._percent, self._text)

    @property
    def _percent(self) -> float:
        return 100.0 * self._done / self._total if self._total else 100.0

    @property
    def _text(self) -> str:
        failed = f", {self._failed:,} failed" if self._failed else ""
        return f"{self._language}: {self._done:,} of {self._total:,} rows{failed}"


def show_result(result: BuildResult, failed: Mapping[str, str]) -> None:
    """Make the table of counts and the summary of a build.

    Args:
        result: what was built.
        failed: language -> what went wrong.
    """
    from prefect.artifacts import create_markdown_artifact, create_table_artifact

    rows: list[dict[str, Any]] = []
    for language, entry in result.report["languages"].items():
        timing = result.timings.get(language)
        cost = {"computed": timing.rows, "seconds": round(timing.seconds, 1)} if timing else {}
        rows.append({"language": language, **{name: entry["total"][name] for name in _COUNTS}, **cost})
    name = result.folder.name or "build"
    create_table_artifact(rows, artifact_key("languages", name), f"What was kept and lost: {result.folder}")
    create_markdown_artifact(summary(result, failed), artifact_key("summary", name), f"Summary of {result.folder}")


def summary(result: BuildResult, failed: Mapping[str, str]) -> str:
    """Return a build in Markdown: what is whole, what failed, where the files are.

    >>> from pathlib import Path
    >>> total = dict.fromkeys(("rows", "kept", "dropped", "spans", "carried", "lost"), 2)
    >>> report = {"task": "ner", "languages": {"de": {"total": total}}, "signature": "task:ner", "missing": ["es"]}
    >>> text = summary(BuildResult(Path("/out/demo"), report), {"es": "1 shard failed (train 2): no memory"})
    >>> print(text.splitlines()[2])
    **es failed**: 1 shard failed (train 2): no memory. The other languages are whole; run the build again for this one.
    >>> "[card](file:///out/demo/README.md)" in text
    True
    """
    folder = result.folder.resolve()
    lines = [f"# {folder.name}: {result.report['task']}", ""]
    lines += [
        f"**{language} failed**: {reason}. The other languages are whole; run the build again for this one."
        for language, reason in failed.items()
    ]
    lines += ["", "| language | " + " | ".join(_COUNTS) + " |", "|---|" + "---:|" * len(_COUNTS)]
    for language, entry in result.report["languages"].items():
        lines.append(f"| {language} | " + " | ".join(f"{entry['total'][name]:,}" for name in _COUNTS) + " |")
    links = {"dataset": "data", "card": "README.md", "report": "report.json", "what was lost": "dropped"}
    lines += ["", ", ".join(f"[{text}]({(folder / name).as_uri()})" for text, name in links.items())]
    lines += ["", f"`{result.report['signature']}`"]
    return "\n".join(lines) + "\n"


def artifact_key(kind: str, name: str) -> str:
    """Return a key as Prefect wants it: small letters, digits and dashes.

    >>> artifact_key("progress", "zh-Hans"), artifact_key("summary", "my_data.v2")
    ('progress-zh-hans', 'summary-my-data-v2')
    """
    return "-".join("".join(c if c.isascii() and c.isalnum() else " " for c in f"{kind} {name}".lower()).split())
