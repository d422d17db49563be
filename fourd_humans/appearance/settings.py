"""Settings of the appearance comparison."""

from __future__ import annotations

from fourd_humans.settings import Settings


class AppearanceSettings(Settings):
    """How the appearance of two people is compared, see `appearance.distance`."""

    encoder: str | None = None
    """Checkpoint of a texture encoder; null: the released one if `paper` has it installed, else colours."""
