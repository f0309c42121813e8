"""The command line. Every command imports what it needs when it runs, so that `--help` is instant."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from spanferry.data.errors import BuildError, ConfigError, IncompleteError, SpanferryError
from spanferry.flows.compare_command import compare_command
from spanferry.flows.diff_command import diff_command
from spanferry.flows.ensemble_command import ensemble_command
from spanferry.flows.export_command import export_command
from spanferry.flows.inspect_command import inspect_command
from spanferry.flows.memory_command import memory
from spanferry.flows.models_command import models
from spanferry.flows.predict_command import predict_command
from spanferry.flows.publish_command import publish_command
from spanferry.flows.report_command import report_command
from spanferry.flows.review_command import review
from spanferry.flows.score_command import score_command
from spanferry.flows.serve_command import serve_command
from spanferry.flows.status_command import status_command

_PLACE_ERRORS = frozenset({
    errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS,
    errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP,
})  # fmt: skip
"""What is wrong with a place, and so for its owner to mend; any other error of the system is a defect of ours."""

app = typer.Typer(
    name="spanferry",
    help="Carry labelled data across languages: translate, carry the spans, keep every label accounted for.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ConfigPath = Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="The build's settings; see `spanferry init`.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting: translation.beam_size=1.")
]
Limit = Annotated[int | None, typer.Option(min=1, help="Take only the first N rows of each split.")]
Languages = Annotated[str | None, typer.Option(metavar="de,es", help="Work on these targets only.")]
OnError = Annotated[str | None, typer.Option(metavar="raise|skip", help="What a bad source row does.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary.")]


def main() -> None:
    """Run the command line.

    A user's mistake is one line a mistake on standard error and exit code 2; a build of which a part failed has a line
    a language, and exit code 1.
    """
    try:
        app(prog_name="spanferry")
    except SpanferryError as error:
        _fail(error)
    except OSError as error:
        if error.errno not in _PLACE_ERRORS:
            raise
        where = f"{error.filename}: " if error.filename else ""
        _fail(BuildError(f"{where}{error.strerror}. What is finished is safe; mend this, and the same command goes on"))


def _fail(error: SpanferryError) -> NoReturn:
    for line in str(error).splitlines():
        print(f"spanferry: {line}", file=sys.stderr)
    raise SystemExit(1 if isinstance(error, IncompleteError) else 2)


@app.command()
def build(  # noqa: PLR0917  (options of a command line)
    config: ConfigPath,
    set_: Set = None,
    limit: Limit = None,
    languages: Languages = None,
    on_error: OnError = None,
    prefect: Annotated[bool, typer.Option("--prefect", help="Run as a Prefect flow, one task a shard.")] = False,
    join: Annotated[bool, typer.Option("--join", help="Help a build that runs elsewhere, on shared storage.")] = False,
    only_failed: Annotated[
        bool, typer.Option("--only-failed", help="Do only the shards that failed before; see `spanferry status`.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Translate a labelled dataset and carry its labels: one folder, ready for `datasets.load_dataset`.

    Stopped at any moment, the same command goes on where it stood. A language that fails leaves the others whole; its
    shards that failed are noted, and tried again by the next run.
    """
    from spanferry.flows.config import load_config
    from spanferry.flows.progress import console_progress
    from spanferry.flows.report import LanguagesFailed, print_summary

    if join and only_failed:
        raise ConfigError("--join does what nobody works on, failed before or not; leave out --only-failed")

    settings = load_config(config, _overrides(set_, limit=limit, on_error=on_error))
    only = _languages(languages)
    with _interruptible(settings.output), console_progress(quiet) as progress:
        if join:
            from spanferry.flows.helping import help_build

            for language, timing in help_build(settings, only=only, progress=progress).items():
                progress.note(f"{language}: {timing.rows:,} rows done here")
            return
        problem = None
        try:
            if prefect or settings.run.task_runner != "threads":  # the others are Prefect's
                from spanferry.flows.translate_train import run_as_flow

                result = run_as_flow(settings, only, only_failed)
            else:
                from spanferry.flows.build import build as run

                result = run(settings, only=only, only_failed=only_failed, progress=progress)
        except LanguagesFailed as error:
            if error.result is None:
                raise
            result, problem = error.result, error
    if not quiet:
        print_summary(result)
    if problem is not None:
        raise problem


@app.command()
def plan(  # noqa: PLR0917
    config: ConfigPath,
    set_: Set = None,
    limit: Limit = None,
    languages: Languages = None,
    on_error: OnError = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")] = False,
    quiet: Quiet = False,
) -> None:
    """Say what a build would do, and how long it would take, without doing it."""
    from spanferry.flows.config import load_config
    from spanferry.flows.plan import print_rehearsal, rehearse
    from spanferry.flows.progress import console_progress

    settings = load_config(config, _overrides(set_, limit=limit, on_error=on_error))
    with console_progress(quiet) as progress:
        rehearsal = rehearse(settings, only=_languages(languages), progress=progress)
    print_rehearsal(rehearsal, as_json=json)


@app.command()
def schema() -> None:
    """Print the JSON schema of a build's settings, for editors that complete and check YAML by one."""
    import json

    from spanferry.flows.config import json_schema

    print(json.dumps(json_schema(), indent=2, ensure_ascii=False))


@app.command()
def init(
    task: Annotated[str, typer.Argument(metavar="TASK", help="Shape of the data: ner, slots, question-answering ...")],
    path: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="File to write, or -; TASK.yaml if absent.")
    ] = None,
    *,
    direction: Annotated[
        str,
        typer.Option(metavar="translate-train|back-translate|translate-test", help="What kind of build."),
    ] = "translate-train",
) -> None:
    """Write a commented CONFIG.yaml for a task, to start from."""
    from spanferry.flows.template import template

    text = template(task, direction)
    if path == Path("-"):
        print(text, end="")
        return
    path = path or Path(f"{task}.yaml")
    try:
        with path.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise ConfigError(f"{path} exists; name another file: spanferry init {task} FILE") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror})") from None
    print(f"wrote {path}. Edit it, then: spanferry plan {path}; spanferry build {path}")


app.command("inspect")(inspect_command)
app.command("report")(report_command)
app.command("diff")(diff_command)
app.command("export")(export_command)
app.command("predict")(predict_command)
app.command("score")(score_command)
app.command("publish")(publish_command)
app.command("serve")(serve_command)
app.command("status")(status_command)
app.command("compare")(compare_command)
app.command("ensemble")(ensemble_command)
app.add_typer(review)
app.add_typer(models)
app.add_typer(memory)


@app.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as installed

    print(installed("spanferry"))


def _overrides(items: list[str] | None, **options: Any) -> list[str]:
    """Put options that are settings (``--limit 10``) behind the ``--set`` items, as settings."""
    return [*(items or []), *(f"{name}={value}" for name, value in options.items() if value is not None)]


def _languages(names: str | None) -> list[str] | None:
    return None if names is None else [name.strip() for name in names.split(",") if name.strip()]


@contextmanager
def _interruptible(output: str) -> Iterator[None]:
    """On Ctrl-C say what is safe and how to go on; leave at once, though a model may be in the middle of a batch."""
    try:
        yield
    except KeyboardInterrupt:
        import os

        print(
            f"\nspanferry: stopped. Finished shards are safe in {output}; the same command goes on from there.",
            file=sys.stderr,
        )
        sys.stderr.flush()
        sys.stdout.flush()
        # A translating thread cannot be interrupted and would be waited for; every file is moved into place whole.
        os._exit(130)


if __name__ == "__main__":
    main()
