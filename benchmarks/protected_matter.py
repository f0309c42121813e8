"""How much protected matter a model copies, and which stand-in rescues most of the rest.

    python benchmarks/protected_matter.py [--model NAME] [--source en] [--target de] [--stand-ins 'X{}' 'ID{}' ...]

Each row is one way to translate the same 240 English sentences: as they are, then with each stand-in alone. Cells are
sentences whose item came through (see `spanferry.translation.protect` for what that means), a kind.
"""

from __future__ import annotations

import argparse
from collections import Counter

from spanferry.translation.pipeline import TextSettings, translate_texts
from spanferry.translation.protect import Protector
from spanferry.translation.registry import load_translator

FRAMES = (
    "Please look at {} for more.",
    "You can find it at {}.",
    "{} is the best choice.",
    "I asked my friends about {} yesterday.",
    "The old book says that {} must be larger than before.",
    "We use {} every day, and so do they.",
    "If you have {}, you can go home.",
    "Is {} really what you want?",
)
ITEMS = {
    "url": (
        "https://www.example.org/a/b?c=1",
        "http://t.co/XyZ12",
        "www.books.com",
        "shop.example.net",
        "ftp://a.b.io/x",
    ),
    "email": ("anna.k@mail.org", "info@shop.example.com", "x_y@a.de", "me+you@web.fr", "A.B@c.net"),
    "placeholder": ("{name}", "%s", "${value}", "{{user}}", "%(count)d"),
    "math": ("$x^2$", "\\(a+b\\)", "$n$", "$\\alpha_1$", "$$y = 2x$$"),
    "code": ("`foo()`", "`my_var`", "`ls -l`", "`None`", "`a.b`"),
    "number": ("48,613", "1999", "3", "12.5", "70"),
}


def row(title: str, kept: Counter[str], total: Counter[str]) -> str:
    cells = (f"{kept[kind]:>4}/{total[kind]:<3}" for kind in ITEMS)
    return f"{title:<12} {' '.join(f'{cell:>12}' for cell in cells)} {kept.total():>6}/{total.total()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--source", default="en")
    parser.add_argument("--target", default="de")
    parser.add_argument("--stand-ins", nargs="*", default=["X{}", "ID{}", "{}7", "{}00", "<{}>", "[{}]", "Q{}Q", "#{}"])
    options = parser.parse_args()
    translator = load_translator(options.model)
    sentences = [(kind, frame.format(item)) for kind, items in ITEMS.items() for item in items for frame in FRAMES]
    texts = [sentence for _, sentence in sentences]
    total = Counter(kind for kind, _ in sentences)
    languages = {"source": options.source, "target": options.target}
    protector = Protector()

    plain = translate_texts(texts, translator, settings=TextSettings(protect=()), **languages)
    print(f"{'':<12} {' '.join(f'{kind:>12}' for kind in ITEMS)} {'all':>6}")
    kept = Counter(
        kind
        for (kind, sentence), translation in zip(sentences, plain, strict=True)
        if not protector.lost(protector.find(sentence), translation.text)
    )
    print(row("as it is", kept, total))
    for name, stand_ins in [("edges only", ()), *((each, (each,)) for each in options.stand_ins)]:
        tried = translate_texts(texts, translator, settings=TextSettings(stand_ins=stand_ins), **languages)
        kept = Counter(
            kind for (kind, _), each in zip(sentences, tried, strict=True) if "protected_lost" not in each.flags
        )
        print(row(name, kept, total))


if __name__ == "__main__":
    main()
