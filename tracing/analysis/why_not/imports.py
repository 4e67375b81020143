"""Reasons for which a module was not loaded, read from source."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tracing.analysis.names import place
from tracing.analysis.why_not.broken import broken_import
from tracing.analysis.why_not.places import installed_apps_place
from tracing.analysis.why_not.words import Answer, Evidence

if TYPE_CHECKING:
    from tracing.analysis.why_not.source import Project
    from tracing.analysis.why_not.syntax import ConfigClass, ImportSite, Module
    from tracing.analysis.why_not.target import Target
    from tracing.spans.processes import ProcessWiring

_IMPORTED: Final = frozenset({"models", "admin"})
"""What is imported of each application that is installed, beside its configuration."""
_DEEP: Final = 6
"""Modules that import one another that are followed."""


def not_loaded(target: Target, wiring: ProcessWiring, project: Project) -> Answer | None:
    """Return why the module of *target* was not loaded; None if it was."""
    if not target.file:
        return None
    module = project.module(target.file)
    package = Path(module.path).with_suffix("") / "__init__.py"
    if package.is_file():
        return _shadowed(target, module.names[0], package)
    if not module.names or _is_loaded(module, wiring):
        return None
    return _Search(wiring, project).reason(module, target)


def _is_loaded(module: Module, wiring: ProcessWiring) -> bool:
    return not wiring.modules or any(name in wiring.modules for name in module.names)


def _shadowed(target: Target, name: str, package: Path) -> Answer:
    """Return that a package stands before the module of its name."""
    return Answer(
        "never-imported",
        f"{name} is the package beside it: Python imports {place(str(package))} in its place.",
        [
            Evidence(f"this is {name}", str(package), 1),
            Evidence(
                f"{target.name} is defined here, which nothing can import", target.file, target.line
            ),
        ],
        "Move its receivers into the package, or give one of the two another name.",
    )


class _Search:
    """A search for who imports what, from a receiver's module upwards."""

    def __init__(self, wiring: ProcessWiring, project: Project) -> None:
        self.wiring = wiring
        self.project = project
        self._seen: set[str] = set()

    def reason(self, module: Module, target: Target) -> Answer:
        """Return why *module* was not loaded."""
        answers = self._reasons(module, _DEEP)
        own = Evidence(f"{target.name} is defined here", target.file, target.line)
        if not answers:
            return self._misspelled(module, own) or self._imported_by_nobody(module, own)
        return _best(answers, own)

    def _reasons(self, module: Module, depth: int) -> list[Answer]:
        self._seen.add(module.path)
        sites = self.project.imports_of(frozenset(module.names))
        answers = [
            self._of_site(site, module, depth) for site in sites if site.file not in self._seen
        ]
        absent = self._of_absent_app(module)
        return [*answers, absent] if absent is not None else answers

    def _of_site(self, site: ImportSite, module: Module, depth: int) -> Answer:
        """Return why the import at *site* did not load *module*."""
        name = module.names[0]
        importer = self.project.module(site.file)
        config = self._config_of(site)
        if config is not None:
            return self._of_config(site, config, module)
        if site.is_in_function:
            if site.is_guarded and self._is_called(site):
                return self._failed(site, module)
            return _never_imported(
                name, "the function that imports it was not called", ".".join(site.scope), site
            )
        if _is_loaded(importer, self.wiring) and importer.names:
            return self._failed(site, module) if site.is_guarded else self._conditional(site, name)
        who = importer.names[0] if importer.names else place(importer.path)
        if depth and (answers := self._reasons(importer, depth - 1)):
            return _best(answers, Evidence(f"{who} would import {name}", site.file, site.line))
        why = f"the only module that imports it, {who}, was not imported either"
        return _never_imported(name, why, who, site)

    def _is_called(self, site: ImportSite) -> bool:
        """Return whether a loaded module calls the function around *site*."""
        return any(
            not place.scope or _is_loaded(self.project.module(place.file), self.wiring)
            for place in self.project.calls(site.scope[-1])
        )

    def _conditional(self, site: ImportSite, name: str) -> Answer:
        evidence = [
            Evidence(text, site.file, line)
            for text, line in (
                ("it may return here, before the import", site.return_line),
                ("the import is under this condition", site.condition_line),
                ("the import did not run", site.line),
            )
            if line
        ]
        return Answer(
            "never-imported",
            f"{name} was not imported in this process: what imports it is under a condition.",
            evidence,
            f"Import {name} without a condition.",
        )

    # -- by an application's configuration -----------------------------------------------------

    def _config_of(self, site: ImportSite) -> ConfigClass | None:
        """Return the configuration class whose method *site* is in, or None."""
        if len(site.scope) < 2:  # noqa: PLR2004 - a class and a method.
            return None
        for config in self.project.configs(site.file):
            if config.name == site.scope[0]:
                return config
        return None

    def _of_config(self, site: ImportSite, config: ConfigClass, module: Module) -> Answer:
        name = module.names[0]
        config_names = [f"{path}.{config.name}" for path in self.project.module(site.file).names]
        app = config.app or self._package(config.file)
        if app not in self.wiring.apps:
            return self._not_installed(
                app,
                Evidence(f"{config.name}.ready() would import {name}", site.file, site.line),
            )
        used = self.wiring.apps[app]
        if used not in config_names and not self._inherits_ready(used, config):
            return self._not_used(site, config, used, app, name)
        if site.is_guarded:
            return self._failed(site, module)
        if site.scope[1] != "ready":
            return Answer(
                "never-imported",
                f"{name} was never imported: {config.name}.{site.scope[1]}() is no method that "
                "Django calls.",
                [
                    Evidence(
                        f"Django calls ready(), not {site.scope[1]}()",
                        site.file,
                        site.function_line,
                    ),
                    Evidence(f"it would import {name}", site.file, site.line),
                ],
                f"Call the method ready(), or import {name} in ready().",
            )
        return self._conditional(site, name)

    def _package(self, path: str) -> str:
        names = self.project.names_of(path)
        return names[0].rpartition(".")[0] if names else ""

    def _inherits_ready(self, used: str, config: ConfigClass) -> bool:
        """Return whether the class *used* has its ``ready()`` from *config*."""
        for _ in range(_DEEP):
            found = self._class_of(used)
            if found is None or found.has_ready:
                return False
            if config.name in found.bases:
                return True
            used = f"{used.rpartition('.')[0]}.{found.bases[0]}" if found.bases else ""
        return False

    def _class_of(self, path: str) -> ConfigClass | None:
        """Return the class of the project that has the dotted *path*."""
        module, _, name = path.rpartition(".")
        file = self.project.file_of(module)
        found = self.project.configs(file) if file else []
        return next((each for each in found if each.name == name), None)

    def _not_installed(self, app: str, would: Evidence) -> Answer:
        line = installed_apps_place()
        near = next(
            (
                each
                for each in self.wiring.apps
                if each.rpartition(".")[2] == app.rpartition(".")[2]
            ),
            "",
        )
        evidence = [Evidence(f"INSTALLED_APPS has no {app!r}", *line), would]
        if near:
            evidence.append(
                Evidence(f"INSTALLED_APPS has {near!r}, another name", *installed_apps_place(near))
            )
        return Answer(
            "app-not-installed",
            f"The application {app} is not in INSTALLED_APPS, so nothing of it is loaded.",
            evidence,
            f"Add {app!r} to INSTALLED_APPS.",
        )

    def _not_used(
        self, site: ImportSite, config: ConfigClass, used: str, app: str, name: str
    ) -> Answer:
        why, line = self._why_not_used(config, used)
        evidence = [
            Evidence(why, *line),
            Evidence(f"{config.name}.ready() would import {name}", site.file, site.line),
            Evidence(f"Django uses {used} for {app}", *installed_apps_place(app)),
        ]
        own = f"{self.project.module(site.file).names[0]}.{config.name}"
        remedy = (
            "Call super().ready() there."
            if "super()" in why
            else f"Write {own!r} in INSTALLED_APPS, or give {config.name} `default = True`."
        )
        return Answer(
            "app-config-not-used",
            f"{config.name}.ready(), which would import {name}, was not called: Django uses {used} "
            f"for the application {app}.",
            evidence,
            remedy,
        )

    def _why_not_used(self, config: ConfigClass, used: str) -> tuple[str, tuple[str, int]]:
        heir = self._class_of(used)
        if heir is not None and heir.has_ready and config.name in heir.bases:
            return f"{heir.name}.ready() does not call super().ready()", (
                heir.file,
                heir.ready_line,
            )
        if config.default is False:
            return f"{config.name} has default = False", (config.file, config.default_line)
        if os.path.basename(config.file) != "apps.py":
            return f"{config.name} is not in apps.py, where Django looks", (
                config.file,
                config.line,
            )
        entry = installed_apps_place(used)
        if entry[1]:
            return f"INSTALLED_APPS names {used}", entry
        return self._why_not_chosen(config), (config.file, config.line)

    def _why_not_chosen(self, config: ConfigClass) -> str:
        """Return why Django does not take *config* from apps.py."""
        beside = [each for each in self.project.configs(config.file) if each.name != config.name]
        if not config.bases:
            return f"{config.name} is no AppConfig"
        if any(each.default for each in beside):
            return f"another class of the file has default = True, {config.name} has not"
        if beside and config.default is None:
            return "the file has several classes, and none has default = True"
        if config.default is None and set(config.bases) - {"AppConfig"}:
            return (
                f"the file imports {config.bases[0]}, which counts as a second class, and "
                f"{config.name} has no default = True"
            )
        return f"{config.name} is not the class that Django uses"

    def _of_absent_app(self, module: Module) -> Answer | None:
        """Return that the application Django imports *module* of is absent."""
        is_package = os.path.basename(module.path) == "__init__.py"
        owners = {name: _owner(name, is_package=is_package) for name in module.names}
        if any(app in self.wiring.apps for app in owners.values()):
            return None
        for name, app in owners.items():
            if app and self._is_app(app):
                would = Evidence(f"Django would import {name}", module.path, 1)
                return self._not_installed(app, would)
        return None

    def _is_app(self, name: str) -> bool:
        path = self.project.file_of(name)
        folder = os.path.dirname(path)
        return bool(path) and any(
            os.path.exists(os.path.join(folder, part))
            for part in ("apps.py", "models.py", "models")
        )

    # -- failures and nobody -------------------------------------------------------------------

    def _failed(self, site: ImportSite, module: Module) -> Answer:
        name = module.names[0]
        broken = broken_import(module, self.project)
        evidence = [
            *([broken] if broken is not None else []),
            Evidence(f"importing {name} failed", site.file, site.line),
            Evidence("the error is swallowed here", site.file, site.guard_line),
        ]
        why = f": {broken.text}" if broken is not None else ""
        return Answer(
            "import-failed",
            f"Importing {name} failed{why}, and the error was swallowed.",
            evidence,
            f"Mend what keeps {name} from being imported, and let such errors be raised.",
        )

    def _misspelled(self, module: Module, own: Evidence) -> Answer | None:
        """Return that an import that misspells *module* failed unseen."""
        name = module.names[0]
        site, said = next(iter(self.project.near_imports(name)), (None, ""))
        if site is None:
            return None
        return Answer(
            "import-failed",
            f"Importing {said} failed, there is no such module, and the error was swallowed: it is "
            f"called {name}.",
            [
                Evidence(f"there is no module {said}", site.file, site.line),
                Evidence("the error is swallowed here", site.file, site.guard_line),
                own,
            ],
            f"Write {name}, and let such errors be raised.",
        )

    def _imported_by_nobody(self, module: Module, own: Evidence) -> Answer:
        name = module.names[0]
        app = next(
            (
                app
                for app in sorted(self.wiring.apps, key=len, reverse=True)
                if name == app or name.startswith(f"{app}.")
            ),
            "",
        )
        evidence: list[Evidence] = []
        where = "the AppConfig of its application"
        if app:
            path = self.project.file_of(self.wiring.apps[app].rpartition(".")[0])
            for config in self.project.configs(path) if path else []:
                where = f"{config.name} ({place(config.file, config.ready_line or config.line)})"
                evidence = self._could_import(config, name, app)
                break
        package, _, leaf = name.removeprefix(f"{app}.").rpartition(".")
        relative = f"from .{package} import {leaf}" if app else f"import {name}"
        return Answer(
            "never-imported",
            f"Nothing imports {name}, so its receivers were never connected.",
            [*evidence, own],
            f"Add `{relative}` to ready() of {where}.",
        )

    def _could_import(self, config: ConfigClass, name: str, app: str) -> list[Evidence]:
        """Return the lines that could import *name* and do not."""
        package = name.rpartition(".")[0]
        sites = self.project.imports_of(frozenset({package})) if package != app else []
        found = [
            Evidence(f"this imports {package}, and not what is in it", site.file, site.line)
            for site in sites
            if _is_loaded(self.project.module(site.file), self.wiring)
        ]
        if config.ready_line:
            found.append(
                Evidence(f"ready() does not import {name}", config.file, config.ready_line)
            )
        return [*found, Evidence("its ready() could import it", config.file, config.line)]


def _owner(name: str, *, is_package: bool) -> str:
    """Return the application whose *name* Django imports; empty for none."""
    package, _, leaf = name.rpartition(".")
    if ".models." in name:
        return name.partition(".models.")[0]
    if is_package:
        return package if leaf in _IMPORTED else name
    return package if leaf in {*_IMPORTED, "apps"} else ""


def _best(answers: list[Answer], more: Evidence) -> Answer:
    """Return the answer that says most, with *more* that shows it."""
    best = min(answers, key=lambda each: (each.verdict == "never-imported", each.rank))
    return replace(best, evidence=[*best.evidence, more])


def _never_imported(name: str, why: str, who: str, site: ImportSite) -> Answer:
    return Answer(
        "never-imported",
        f"{name} was never imported: {why}.",
        [
            Evidence(f"{who} would import {name}", site.file, site.line),
            *(
                [Evidence(f"{who}() was not called", site.file, site.function_line)]
                if site.function_line
                else ()
            ),
        ],
        f"Import {name} in ready() of the AppConfig of its application.",
    )
