"""Whose `models` is it, where a user's folder holds a package of that name too?

Our packages stand at the root of the project under plain names, and Python puts the folder it is started in before
everything else. `claim` puts ours into `sys.modules` by their place on disk, before anybody asks the path: from then on
`import models` means ours in this process. The order of the path stays, because the folder of installed packages must
not come before the standard library. docs/decisions/0013 has the alternatives. Standard library alone: it runs first.
"""

import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("cluster", "data_ops", "models", "tune", "ray_jobs")
#: What `import headrace` needs; the other two names stay free for the packages of the program that imports it.
LIBRARY = ("cluster", "data_ops", "ray_jobs")


def claim(names: tuple[str, ...] = PACKAGES) -> None:
    """Make these names mean our packages in this process; repeating it changes nothing.

    Raises ImportError where another package of that name was imported before.
    """
    for name in names:
        mine, known = ROOT / name / "__init__.py", sys.modules.get(name)
        if known is None:
            spec = spec_from_file_location(name, mine, submodule_search_locations=[str(mine.parent)])
            if spec is None or spec.loader is None:
                raise ImportError(f"{mine} cannot be loaded; install headrace anew")
            sys.modules[name] = module_from_spec(spec)
            spec.loader.exec_module(sys.modules[name])
        elif not _is(mine, known.__file__):
            raise ImportError(
                f"this program has imported a package {name} of its own ({known.__file__ or known.__path__}), and "
                f"headrace needs that name; import headrace first, rename yours, or use the command `headrace`"
            )


def claim_private() -> None:
    """Claim all names, in a worker whose files are for their owner alone (`store_mode: private`)."""
    claim()
    import_module("cluster.runtime.private_files").keep_private()


def _is(mine: Path, file: str | None) -> bool:
    return file is not None and Path(file).resolve() == mine
