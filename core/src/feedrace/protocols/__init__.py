"""The written contract between a pipeline and its parts.

`kinds` says what each part must have, `optional` what it may have, `elements` what a
source can read, `checks` asks for it.
"""

from feedrace.protocols.checks import *  # noqa: F403
from feedrace.protocols.elements import *  # noqa: F403
from feedrace.protocols.kinds import *  # noqa: F403
from feedrace.protocols.optional import *  # noqa: F403
