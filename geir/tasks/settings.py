"""Settings of tasks: dataclasses whose fields are the flags of the command line and know their range."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import cast, Literal, TypeVar

Value = TypeVar("Value", bool, int, float, str, Path)


def setting(
    default: Value,
    help_text: str,
    *,
    allowed: Literal["positive", "not negative", "any"] = "positive",
    choices: Sequence[str] = (),
    free: bool = False,
) -> Value:
    """A field of a settings class.

    Args:
        default: The default.
        help_text: Shown by `--help`.
        allowed: Range of a number.
        choices: The values of a text, if only these are allowed.
        free: Whether the setting may change when a run is resumed.
    """
    metadata = {"help": help_text, "allowed": allowed, "choices": choices, "free": free}
    # As for `field` itself, the declared type is that of the default.
    return cast(Value, field(default=default, metadata=metadata))


def seed_setting(seeded: str) -> int:
    """The field `seed` of a task whose `seeded` parts are random."""
    return setting(0, f"seed of {seeded}; runs are reproducible", allowed="any")


def out_setting(task: str, content: str = "the checkpoint") -> Path:
    """The field `out` of a task that writes `content`."""
    return setting(Path("runs") / task, f"folder for {content}, created if missing", free=True)


def resume_setting() -> bool:
    """The field `resume` of a task that writes a checkpoint."""
    return setting(False, "continue from the checkpoint in the folder", free=True)


def flag_name(name: str) -> str:
    """The flag of a setting: `batch_size` becomes `--batch-size`."""
    return f"--{name.replace('_', '-')}"


class _Common:
    """Settings and defaults that all tasks share. The fields are those of the tasks, in their order there."""

    seed: int
    out: Path
    resume: bool = False


@dataclass(frozen=True)
class TaskSettings(_Common):
    """Base class of settings, which are fields made by `setting`.

    Raises:
        ValueError: If a setting is not allowed; the message names its flag.
    """

    def __post_init__(self) -> None:
        object.__setattr__(self, "out", Path(self.out))  # it may be given as text
        for declared in fields(self):
            value, metadata = getattr(self, declared.name), declared.metadata
            flag, allowed, choices = flag_name(declared.name), metadata["allowed"], metadata["choices"]
            if choices and value not in choices:
                raise ValueError(f"{flag} must be one of {', '.join(choices)}, got {value!r}.")
            if isinstance(value, bool) or not isinstance(value, int | float) or allowed == "any":
                continue
            if allowed == "positive" and not value > 0:
                raise ValueError(f"{flag} must be positive, got {value}.")
            if not value >= 0:
                raise ValueError(f"{flag} must not be negative, got {value}.")

    def fixed(self) -> dict[str, object]:
        """The settings that must agree with the checkpoint when a run is resumed."""
        return {
            declared.name: getattr(self, declared.name) for declared in fields(self) if not declared.metadata["free"]
        }
