"""The errors a user can meet, each saying what is wrong, where, and what to do next."""


class LowlandError(Exception):
    """Base of every error that lowland raises on purpose."""


class ShapeError(LowlandError, ValueError):
    """A tensor does not have the shape that the energy or question needs."""


class DomainError(LowlandError, ValueError):
    """A value lies outside what is allowed: wrong dtype, NaN, an empty set, a bad option."""


class CapabilityError(LowlandError, TypeError):
    """An energy was asked for something it does not offer."""


class DataError(LowlandError, ValueError):
    """A source of data cannot be read as numbers: a bad file, column or image."""


class CheckpointError(LowlandError, RuntimeError):
    """A saved energy cannot be written, read or trusted."""


class DivergedError(LowlandError, ArithmeticError):
    """A number became NaN or infinite, in training or in a question.

    Attributes:
        step: the training or sampling step at which it was seen, or None for a question.
        restored_step: the step whose parameters the energy holds now, or None outside training.
        history: what training had recorded until then, or None outside training.
    """

    def __init__(
        self,
        message: str,
        *,
        step: int | None = None,
        restored_step: int | None = None,
        history: object = None,
    ) -> None:
        super().__init__(message)
        self.step = step
        self.restored_step = restored_step
        self.history = history
