"""Settings of all tests."""

from __future__ import annotations

from hypothesis import settings

# Timings on shared machines vary tenfold, so no example has a deadline; pytest's timeout holds.
settings.register_profile("shared", deadline=None)
settings.load_profile("shared")
