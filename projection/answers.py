"""Answers to questions, scored by the definitions of SQuAD's own evaluation (Rajpurkar et al., 2016 and 2018).

Both measures compare texts, not places, after the same normalisation: lower case; ASCII punctuation removed; the
English articles ``a``, ``an``, ``the`` removed as whole words; white space made single blanks. XQuAD and most reports
on other languages use it unchanged, so that their own articles stay. Text without spaces between words (Chinese, Thai)
is one token to it: there, exact match is the measure to read.

A question may have several right answers: each measure takes the best of them. One without any answer (SQuAD 2.0) is
answered rightly by the empty text, and by nothing else.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from spanferry.projection.metrics import check_same_ids, percent

_ARTICLES: Final = re.compile(r"\b(?:a|an|the)\b")
_WITHOUT_PUNCTUATION: Final = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True, slots=True)
class AnswerScores:
    """Scores of answers, in per cent.

    Attributes:
        questions: how many.
        exact: how many were answered exactly.
        overlap: the sum of the questions' token F1, each 0..1.
    """

    questions: int = 0
    exact: int = 0
    overlap: float = 0.0

    @property
    def exact_match(self) -> float:
        """Percentage of questions answered exactly."""
        return percent(self.exact, self.questions)

    @property
    def f1(self) -> float:
        """Mean token F1, 0..100."""
        return percent(self.overlap, self.questions)

    def to_json(self) -> dict[str, Any]:
        """Return the number of questions and the percentages, rounded to two decimals."""
        return {"questions": self.questions, "exact_match": round(self.exact_match, 2), "f1": round(self.f1, 2)}


def normalized_answer(text: str) -> str:
    """Return a text as answers are compared.

    >>> normalized_answer("The  Broncos' 2nd win, an upset!")
    'broncos 2nd win upset'
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_WITHOUT_PUNCTUATION)).split())


def exact_match(predicted: str, golds: Sequence[str]) -> bool:
    """Tell whether a predicted answer is one of the right ones, after normalisation; see above for none.

    >>> exact_match("the Denver Broncos", ["Denver Broncos"]), exact_match("", []), exact_match("Denver", [])
    (True, True, False)
    """
    found = normalized_answer(predicted)
    return any(found == normalized_answer(gold) for gold in golds or [""])


def token_f1(predicted: str, golds: Sequence[str]) -> float:
    """Return the F1 between the tokens of a predicted answer and of the nearest right one, as bags, 0..1.

    Where either has no tokens, it is 1.0 if both have none, else 0.0.

    >>> token_f1("in Denver, Colorado", ["Denver", "Denver Colorado"])      # 2 common, of 3 and of 2
    0.8
    """
    return max(_f1(normalized_answer(predicted).split(), normalized_answer(gold).split()) for gold in golds or [""])


def answer_scores(gold: Mapping[str, Sequence[str]], predicted: Mapping[str, str | None]) -> AnswerScores:
    """Score one answer a question.

    Args:
        gold: id of the question -> its right answers; none where it has no answer.
        predicted: id -> the answer; the empty text or None says that there is none.

    Raises:
        DataError: the two hold different ids.

    >>> answer_scores({"1": ["Denver"], "2": []}, {"1": "Denver Broncos", "2": ""}).to_json()
    {'questions': 2, 'exact_match': 50.0, 'f1': 83.33}
    """
    check_same_ids(gold, predicted)
    answers = [(predicted[key] or "", golds) for key, golds in gold.items()]
    exact = sum(exact_match(answer, golds) for answer, golds in answers)
    return AnswerScores(len(answers), exact, sum(token_f1(answer, golds) for answer, golds in answers))


def _f1(predicted: Sequence[str], gold: Sequence[str]) -> float:
    if not predicted or not gold:
        return float(not predicted and not gold)
    common = (Counter(predicted) & Counter(gold)).total()
    return 2 * common / (len(predicted) + len(gold))
