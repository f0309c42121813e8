"""How marks fare in a model: how many sentences bring them back whole, and what they do to the translation.

    python benchmarks/markers.py --source SETS/europarl-ner/en.conll02 --lang-source en --lang-target de

For each style: of the sentences with spans, the share whose marks all came back once (``kept``); of these, the share
whose translation without the marks is another than the plain one (``different``), and how far from it these are
(``chrF``, sacreBLEU's, of the marked against the plain translation).
"""

from __future__ import annotations

import argparse
import json

from sacrebleu.metrics.chrf import CHRF

from spanferry.data.formats import read_examples
from spanferry.projection.marked_text import Style
from spanferry.projection.marked_translation import translate_marked
from spanferry.translation.pipeline import translate_texts
from spanferry.translation.registry import load_translator
from spanferry.translation.segments import to_target

STYLES: tuple[Style, ...] = ("brackets", "tags")


def main() -> None:
    options = _options()
    translator = load_translator(options.model)
    examples = [each for each in read_examples(options.source, options.task, format=options.format) if each.spans]
    pairs = [
        (text, [span for span in each.spans if span.field == field])
        for each in examples[: options.limit]
        for field, text in each.fields.items()
    ]
    texts, spans = [text for text, row in pairs if row], [row for _, row in pairs if row]
    languages = {"source": options.lang_source, "target": options.lang_target}
    whole = [[(span.start, span.end) for span in row] for row in spans]
    plain = translate_texts(texts, translator, whole=whole, **languages)
    chrf = CHRF()
    for style in STYLES:
        marked, unmarked, sentences = [], [], 0
        for read, translation in zip(
            translate_marked(texts, spans, translator, style=style, **languages), plain, strict=True
        ):
            sentences += len(read.sentences) + len(read.broken)
            for source, place in read.sentences:
                marked.append(read.translation.text[slice(*place)])
                unmarked.append(translation.text[slice(*to_target(translation, *source))])
        other = [(one, two) for one, two in zip(marked, unmarked, strict=True) if one != two]
        figures = {
            "style": style,
            "sentences": sentences,
            "kept": round(len(marked) / max(1, sentences), 4),
            "different": round(len(other) / max(1, len(marked)), 4),
        }
        if other:
            score = chrf.corpus_score([one for one, _ in other], [[two for _, two in other]])
            figures["chrF"] = round(score.score, 1)
        print(json.dumps(figures), flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True, help="data with spans")
    parser.add_argument("--task", default="ner")
    parser.add_argument("--format", default="conll")
    parser.add_argument("--lang-source", default="en")
    parser.add_argument("--lang-target", required=True)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--limit", type=int, default=100, help="examples with spans to take")
    return parser.parse_args()


if __name__ == "__main__":
    main()
