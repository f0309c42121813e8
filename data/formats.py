"""Labelled data in files: read as a stream of examples, and written back, in every format by the same two functions.

    conll      one token a line in columns            .conll .conll02 .conll03 .conllu .bio .iob .iob2
    jsonl      one JSON object a line                 .jsonl .json .ndjson
    csv, tsv   tables with a header                   .csv .tsv
    parquet    columns on disk                        .parquet
    squad      one JSON document of questions         .json (read; to write, say format="squad")
    datasets   a folder: save_to_disk, or laid out like a hub repository
    hub        a dataset's name on the hub (read only)

Nothing is read whole: a file larger than memory goes through, one row, one batch of rows or one article at a time. A
write goes to a temporary name beside the file and is moved into place when it is complete.
"""

from __future__ import annotations

from spanferry.data.outputs import check_output
from spanferry.data.reading import ReadReport, read_examples
from spanferry.data.sources import FORMATS, source_format, target_format
from spanferry.data.writing import Tokenize, replacing, write_examples

__all__ = [
    "FORMATS",
    "ReadReport",
    "Tokenize",
    "check_output",
    "read_examples",
    "replacing",
    "source_format",
    "target_format",
    "write_examples",
]
