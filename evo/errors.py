"""Every error a user may meet, each one sentence long.

::

    EvoError                 root; carries an optional hint
    ├── ConfigError          a setting is unknown, missing or contradictory
    ├── RegistryError        an id or ``module:attr`` reference leads nowhere
    ├── SpaceError           a genome or a search space is illegal
    ├── ShapeError           an array has the wrong shape
    ├── ObjectiveError       an objective raised or returned something unusable
    ├── OrderError           ask and tell were called out of order
    ├── StoreError           a run folder is missing, locked, damaged or newer
    ├── ReplayError          a resumed run does not repeat its own log
    ├── ModelError           a model cannot be loaded, understood or exported
    ├── DataError            text or pairs cannot be used
    ├── DeviceError          a device is missing or its memory is too small
    └── WorkerError          a worker cannot be started, or keeps dying
"""

from __future__ import annotations


class EvoError(Exception):
    """An error with one clear sentence and an optional hint on what to do next.

    Args:
        message: What was expected, what came, where.
        hint: What the user can do about it.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(EvoError):
    """A setting is unknown, missing or contradicts another."""


class RegistryError(EvoError):
    """An id or a ``module:attr`` reference leads nowhere."""


class SpaceError(EvoError):
    """A genome lies outside its search space, or the space itself is empty."""


class ShapeError(EvoError):
    """An array does not have the shape its contract asks for."""


class ObjectiveError(EvoError):
    """An objective or constraint raised, or returned something unusable."""


class OrderError(EvoError):
    """``ask`` and ``tell`` were called out of order."""


class StoreError(EvoError):
    """A run folder is missing, exists already, is locked, damaged or of a newer format."""


class ReplayError(EvoError):
    """A resumed run asked for other genomes than its log holds."""


class ModelError(EvoError):
    """A model cannot be loaded, does not fit the known structures, or cannot be exported."""


class DataError(EvoError):
    """Text, pairs or windows cannot be used as asked."""


class DeviceError(EvoError):
    """A device is missing or too small for one candidate."""


class WorkerError(EvoError):
    """A worker cannot be started, keeps dying, or stands on something else than the run."""


class EvoWarning(UserWarning):
    """A rare, typed warning that is also written to the events of the run."""
