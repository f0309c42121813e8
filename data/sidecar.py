"""The types of a text file's columns, in a file beside it: ``.train.jsonl.features``, JSON of ``datasets.Features``.

JSONL and CSV lose what a ``ClassLabel`` is. With the file beside them ``load_dataset("json", data_files=...,
features=Features.from_dict(json.load(...)))`` gives it back. The dot before the name keeps the file out of what
``load_dataset`` takes for data in a folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spanferry.data.errors import DataError


def features_path(path: Path) -> Path:
    """Return where the types of ``path`` stand.

    >>> features_path(Path("de/train.jsonl")).name
    '.train.jsonl.features'
    """
    return path.with_name(f".{path.name}.features")


def read_features(path: Path) -> Mapping[str, Any]:
    """Return the types of the columns of ``path``, empty where no file beside it gives them.

    Raises:
        DataError: the file beside it is not a JSON object.
    """
    beside = features_path(path)
    if not beside.is_file():
        return {}
    try:
        found = json.loads(beside.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"broken JSON: {error}", path=beside, hint="delete the file to read without types") from None
    if not isinstance(found, dict):
        raise DataError("expected a JSON object, column -> type", path=beside)
    return found
