"""Sentences and moments that the owner of an index marked as normal or as alarms, stored in the catalog.

An example is a sentence, or a moment of the footage. It applies to one camera or to all.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import logging
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, ValidationError, field_validator

from var_plugin.encoders.base import Vectors
from var_plugin.errors import InvalidInputError, field_errors
from var_plugin.index.catalog import Catalog, ClockMs, Id, Text
from var_plugin.index.filters import check_text
from var_plugin.types import Value

logger = logging.getLogger(__name__)

ExampleKind = Literal["normal", "alarm"]

MAX_EXAMPLES = 500
MAX_SENTENCE = 300
"""Maximum number of characters of a sentence."""
# 4,096 dimensions, in base64.
_MAX_VECTOR = 22_000


class OwnerExample(Value):
    """A sentence or a moment that is normal, or an alarm, in the footage of one camera or of all."""

    id: Id
    kind: ExampleKind
    text: Annotated[Text, Field(min_length=1)]
    """The sentence; for a moment, its description."""
    camera: Text | None = None
    """None: all cameras."""
    moment: Text | None = None
    """Id of the moment; None for a sentence."""
    fingerprint: Text | None = None
    """Fingerprint of the space of `vector`."""
    encoded_vector: Annotated[str, Field(max_length=_MAX_VECTOR)] | None = None
    """Vector of the moment: little-endian float32 in base64. None for a sentence."""
    added_at: ClockMs

    @field_validator("encoded_vector")
    @classmethod
    def _is_vector(cls, encoded: str | None) -> str | None:
        if encoded is not None:
            try:
                vector = np.frombuffer(base64.b64decode(encoded, validate=True), "<f4")
            except (binascii.Error, ValueError) as error:
                raise ValueError("it is not a vector in base64") from error
            if not len(vector) or not np.isfinite(vector).all():
                raise ValueError("it is not a finite vector")
        return encoded

    @property
    def vector(self) -> Vectors | None:
        """Vector of the moment (dim,), or None for a sentence."""
        return None if self.encoded_vector is None else np.frombuffer(base64.b64decode(self.encoded_vector), "<f4")

    def applies_to(self, camera: str) -> bool:
        """Return whether the example applies to the footage of a camera."""
        return self.camera is None or self.camera == camera


class Examples:
    """The examples of one index.

    Args:
        catalog: catalog of the index.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def all(self) -> list[OwnerExample]:
        """Return the examples in order of addition. Damaged ones are logged and left out."""
        examples = []
        for key, body in self._catalog.example_rows():
            try:
                example = OwnerExample.model_validate(body)
            except ValidationError as error:
                logger.warning("the example %.80r is damaged and left out: %s", key, field_errors(error)[0])
                continue
            examples.append(example)
        return sorted(examples, key=lambda example: (example.added_at, example.id))

    def add(
        self,
        kind: ExampleKind,
        text: str,
        *,
        camera: str | None = None,
        moment: str | None = None,
        vector: Vectors | None = None,
        fingerprint: str | None = None,
    ) -> OwnerExample:
        """Store an example. An equal one is not stored twice.

        Raises:
            InvalidInputError: the sentence or the camera cannot be stored, or there are too many examples.
            StoreError: the store failed.
        """
        check_text(text)
        examples = self.all()
        for example in examples:
            if (example.kind, example.text, example.camera, example.moment) == (kind, text, camera, moment):
                if example.fingerprint == fingerprint:
                    return example
                self._catalog.remove_example(example.id)  # it was marked with another suite
        if len(examples) >= MAX_EXAMPLES:
            raise InvalidInputError(
                f"the index already has {len(examples)} examples",
                why="more would slow down indexing",
                fix="remove some",
            )
        if not text.strip() or len(text) > MAX_SENTENCE:
            raise InvalidInputError(
                "the sentence is empty" if not text.strip() else f"the sentence has {len(text)} characters",
                why=f"a sentence has 1 to {MAX_SENTENCE} characters",
            )
        try:
            example = OwnerExample(
                id=secrets.token_hex(6),
                kind=kind,
                text=text.strip(),
                camera=camera,
                moment=moment,
                fingerprint=fingerprint,
                encoded_vector=None if vector is None else base64.b64encode(vector.astype("<f4").tobytes()).decode(),
                added_at=round(datetime.now(UTC).timestamp() * 1000),
            )
        except ValidationError as error:
            raise InvalidInputError("the example cannot be stored", why=str(field_errors(error)[0])) from error
        self._catalog.put_example(example.id, example.model_dump(mode="json"))
        return example

    def put(self, example: OwnerExample) -> None:
        """Store an example as it is, from a backup."""
        self._catalog.put_example(example.id, example.model_dump(mode="json"))

    def remove(self, example_id: str) -> OwnerExample:
        """Remove an example and return it.

        Raises:
            InvalidInputError: there is no such example.
            StoreError: the store failed.
        """
        for example in self.all():
            if example.id == example_id:
                self._catalog.remove_example(example_id)
                return example
        raise InvalidInputError(f"there is no example '{example_id}'", fix="list them: var-plugin anomalies list")


def revision(examples: Sequence[OwnerExample]) -> str:
    """Return a hash of examples that decides whether rows must be scored again. It is empty for no examples."""
    if not examples:
        return ""
    parts = sorted(
        f"{example.kind}|{example.text}|{example.fingerprint}|{example.encoded_vector}" for example in examples
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
