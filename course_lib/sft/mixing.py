"""Moved to course_lib.mixing."""

from course_lib.mixing import mixture_weights, with_replay  # noqa: F401
