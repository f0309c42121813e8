"""What a translation model's license is, as its card says, and which licenses do not go together."""

from __future__ import annotations

from typing import Any

import yaml

from spanferry.translation.checkpoints import find_card


def model_license(model: str, revision: str | None = None) -> str | None:
    """Return the license in the card of a model, as the hub writes it; None where no card says it.

    Args:
        model: ``"bundled"``, a folder, or a hub id, of which only the card is fetched.
        revision: commit or tag of a hub model.

    >>> model_license("bundled")
    'cc-by-sa-4.0'
    """
    card = find_card(model, revision=revision)
    if card is None:
        return None
    license_ = _metadata(card.read_text(encoding="utf-8", errors="replace")).get("license")
    return str(license_).lower() if license_ else None


def conflict(data: str, model: str | None) -> str | None:
    """Say why a translation of data under one license by a model under another cannot be published; None if it can.

    Args:
        data: license of the source data, as the hub writes it.
        model: license of the translation model; None if it is not known.

    It knows Creative Commons licenses, by their own terms, and nothing of other ones.

    >>> conflict("cc-by-nd-4.0", None)
    'cc-by-nd-4.0 does not allow a changed version to be shared, and a translation is one'
    >>> conflict("cc-by-sa-4.0", "cc-by-nc-4.0")
    'cc-by-sa-4.0 asks for a version under the same terms, which the model (cc-by-nc-4.0, not commercial) does not give'
    >>> conflict("cc-by-4.0", "cc-by-nc-4.0") is None
    True
    """
    terms = set(data.lower().split("-"))
    if {"cc", "nd"} <= terms:
        return f"{data} does not allow a changed version to be shared, and a translation is one"
    if {"cc", "sa"} <= terms and "nc" not in terms and model is not None and not_commercial(model):
        return (
            f"{data} asks for a version under the same terms, which the model ({model}, not commercial) does not give"
        )
    return None


def not_commercial(license_: str) -> bool:
    """Say whether a Creative Commons license keeps commercial use out.

    >>> not_commercial("cc-by-nc-4.0"), not_commercial("mit")
    (True, False)
    """
    return {"cc", "nc"} <= set(license_.lower().split("-"))


def _metadata(card: str) -> dict[str, Any]:
    """Return the YAML at the head of a card; empty where there is none, or none that can be read."""
    if not card.startswith("---\n") or (end := card.find("\n---", 4)) < 0:
        return {}
    try:
        found = yaml.safe_load(card[4:end])
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}
