"""What a scan of the installed plugins finds."""

import os
from collections.abc import Iterator

import attrs
import pluggy

from feedrace.errors import BrokenPluginError, IncompatiblePluginError, in_words, pip_line, plain
from feedrace.registry.component import NAME, Component

# The components that offer a (kind, reference).
Names = dict[tuple[str, str], list[Component]]


@attrs.frozen
class Health:
    """One finding about this installation, as `feedrace doctor` shows it.

    subject: what was looked at, such as "jax" or "records of feedrace_digits".
    ok: whether it is as it should be. detail: what was seen. fix: what to do if it is not.
    """

    subject: str
    ok: bool
    detail: str
    fix: str = ""


@attrs.frozen(order=True)
class EntryPoint:
    """A plugin that a dist registers: its namespace, and the `module` or `module:object` it is."""

    namespace: str
    dist: str
    version: str
    value: str
    location: str = ""

    def conflict(self, other: "EntryPoint") -> Iterator[Health]:
        """Yield a finding if `other`, of the same dist and namespace, differs from this one."""
        if os.path.realpath(self.location) != os.path.realpath(other.location):
            detail = (
                f"it is installed twice: {self.version} in {self.location}, which is used, and "
                f"{other.version} in {other.location}"
            )
            fix = f"{pip_line('uninstall', self.dist)} until none is left, then install it again"
        elif self.value != other.value:
            namespace = plain(self.namespace)
            detail = f"its entry point '{namespace}' is {self.value}, and {other.value} again"
            fix = "the second is skipped; give each module another namespace"
        else:
            return
        yield Health(f"dist {self.dist}", False, detail, fix)

    def failure(self, error: BaseException) -> BrokenPluginError:
        """Return the error of this plugin, which does not load because of `error`."""
        message, kind = in_words(error), BrokenPluginError
        namespace, dist, version, value = map(plain, attrs.astuple(self)[:4])
        fix = f"fix or remove {dist}"
        if NAME.fullmatch(namespace):
            fix += f", or hide it: FEEDRACE_PLUGINS_DISABLE={namespace}"
        if isinstance(error, BrokenPluginError):
            message, fix = error.message, error.fix or fix
        if isinstance(error, IncompatiblePluginError):
            kind = IncompatiblePluginError
        plugin = f"plugin '{namespace}' of {dist} {version} ({value})"
        failure = kind(f"{plugin}: {message}", fix=fix)
        failure.__cause__ = error
        return failure


@attrs.define
class Found:
    """What one scan of the installed plugins found.

    names: who offers a (kind, reference), after precedence; several if it is ambiguous.
    plugins: those that work, with the seconds that importing each took.
    findings: what is wrong with the metadata of any dist.
    """

    manager: pluggy.PluginManager
    findings: list[Health]
    components: list[Component] = attrs.Factory(list)
    names: Names = attrs.Factory(dict)
    plugins: dict[EntryPoint, float] = attrs.Factory(dict)
    broken: dict[str, BrokenPluginError] = attrs.Factory(dict)
    disabled: dict[str, EntryPoint] = attrs.Factory(dict)
