"""What trials share with the tests of stores."""

from tests.serving.conftest import s3_environment

__all__ = ["s3_environment"]
