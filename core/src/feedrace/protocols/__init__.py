"""The written contract between a pipeline and its parts: `kinds` says it, `checks` asks for it."""

from feedrace.protocols.checks import *  # noqa: F403
from feedrace.protocols.kinds import *  # noqa: F403
