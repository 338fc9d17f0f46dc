"""Whether a tokenizer can read a text, and whether a model knows the tokens it makes."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from evo.errors import DataError

from .text import Text
from .windows import Ids

MOST_UNKNOWN = 1 / 2  # of the tokens
FEWEST_LETTERS = 1 / 3  # that must come back; what replaces rare words by one sign keeps more
_SLICES, _SLICE = 10, 2000  # characters that are read back
_HINT = "give text in the language of the model, or repair the tokenizer files beside the model"


def require_legible(text: Text, units: Sequence[Ids], tokenizer: Any, sides: Sequence[str]) -> None:
    """Refuse a text of which the tokenizer makes mostly unknown tokens, or that it loses.

    Args:
        text: What was tokenised.
        units: Token ids of its pieces.
        tokenizer: A tokenizer of `transformers`.
        sides: What the text is for, as told in the message.

    Raises:
        DataError: Over half of the tokens are unknown, or under a third of the letters and digits
            come back when the tokens are decoded.
    """
    for_what = ", ".join(reversed(sides))
    what = f"text for {for_what} ({text.origin}) is illegible to the tokenizer"
    unknown = _unknown_share(units, tokenizer)
    if unknown > MOST_UNKNOWN:
        raise DataError(
            f"the {what} of this model: {unknown:.0%} of its tokens are unknown "
            f"({tokenizer.unk_token})",
            hint=_HINT,
        )
    letters = _letters_back(text.documents, tokenizer)
    if letters < FEWEST_LETTERS:
        raise DataError(
            f"the {what} of this model: {letters:.0%} of its letters and digits come back from "
            "the tokens",
            hint=_HINT,
        )


def require_embedded(highest: int, pretrained: Any) -> None:
    """Refuse token ids for which a model has no embedding.

    Args:
        highest: The largest id in use.
        pretrained: The dense model.

    Raises:
        DataError: The tokenizer was made for another model.
    """
    rows = pretrained.model.get_input_embeddings().weight.shape[0]
    if highest >= rows:
        raise DataError(
            f"the tokenizer beside {pretrained.name} makes token {highest:,}, but the model embeds "
            f"{rows:,} tokens only: it belongs to another model",
            hint="put the model's own tokenizer files into its folder",
        )


def _unknown_share(units: Sequence[Ids], tokenizer: Any) -> float:
    """Share of unknown tokens among all that are not special; 0 where none is reserved for that."""
    unknown, special = tokenizer.unk_token_id, set(tokenizer.all_special_ids)
    framing = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}
    if unknown is None or unknown in framing or not units:  # GPT-2 names its end of text so
        return 0.0
    ids = np.concatenate(units)
    counted = ids[~np.isin(ids, sorted(special - {unknown}))]
    return float((counted == unknown).mean()) if len(counted) else 0.0


def _letters_back(documents: Sequence[str], tokenizer: Any) -> float:
    """Share of a sample's letters and digits that its tokens still hold; case does not matter."""
    joined = "\n".join(documents)
    starts = np.linspace(0, max(0, len(joined) - _SLICE), _SLICES).astype(int)
    sample = [joined[start : start + _SLICE] for start in sorted(set(starts.tolist()))]
    found = tokenizer(sample, add_special_tokens=False, verbose=False)["input_ids"]
    back = "".join(tokenizer.decode(ids, skip_special_tokens=True) for ids in found)
    wanted = _letters("".join(sample))
    return (wanted & _letters(back)).total() / wanted.total() if wanted else 1.0


def _letters(text: str) -> Counter[str]:
    return Counter(c for c in unicodedata.normalize("NFKD", text).casefold() if c.isalnum())
