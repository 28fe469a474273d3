"""The briefly trained policy of the policy tests serves here too."""

from tests.policy.conftest import trained

__all__ = ["trained"]
