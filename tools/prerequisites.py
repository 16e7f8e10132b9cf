"""Prints one clear line if this Python cannot make the course's environment. Runs on any Python 3: no new syntax."""

import sys

OLDEST = (3, 11)


def missing(version, find):
    """Returns a problem with its remedy, or None. `find(name)` imports a module or raises ImportError."""
    name = "%d.%d" % tuple(version[:2])  # noqa: UP031
    if tuple(version[:2]) < OLDEST:
        return (
            "Python 3.11 or newer is needed and this is %s. Install one and say where it is: "  # noqa: UP031
            "make PYTHON=python3.12" % name
        )
    for module in ("venv", "ensurepip"):
        try:
            find(module)
        except ImportError:
            return (
                "this Python has no '%s' module. On Debian and Ubuntu: sudo apt-get install python%s-venv; "  # noqa: UP031
                "elsewhere install Python from python.org or conda-forge" % (module, name)
            )
    return None


if __name__ == "__main__":
    problem = missing(sys.version_info, __import__)
    if problem:
        sys.exit("naslab: " + problem)
