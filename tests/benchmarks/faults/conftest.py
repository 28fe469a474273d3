"""The stand-in policies of the rig's tests serve here too."""

from tests.matrix_hil.conftest import standing_policy

__all__ = ["standing_policy"]
