"""Names below a source to keys of a bucket: which count, what they are called, which can never be a key."""

import fnmatch
import re
from collections.abc import Callable, Iterable, Sequence

from pathspec import GitIgnoreSpec

from mirrord.model.change import Rejection

DEFAULT_EXCLUDE = (
    # rsync writes .NAME.XXXXXX and renames it; --partial-dir and --delay-updates use the other two
    ".*.[a-zA-Z0-9][a-zA-Z0-9][a-zA-Z0-9][a-zA-Z0-9][a-zA-Z0-9][a-zA-Z0-9]",
    ".rsync-partial/",
    ".~tmp~/",
    # vim, emacs, nano, gedit, LibreOffice, JetBrains
    ".*.sw[a-p]",  # vim puts a dot before the name; without it, *.swf would go too
    ".*.swx",
    "*~",
    ".#*",
    "[#]*#",
    ".goutputstream-*",
    ".~lock.*#",
    "*___jb_tmp___",
    "*___jb_old___",
    # what half-done downloads and careful writers are called
    "*.tmp",
    "*.part",
    "*.partial",
    "*.crdownload",
    "*.filepart",
    # network file systems' removed-but-open files
    ".nfs[0-9a-f]*",
    ".fuse_hidden*",
    # version control: never meant to be served
    ".git/",
    ".hg/",
    ".svn/",
)
"""What `exclude` means when the settings say nothing: names that are on their way to becoming a file."""

MAX_KEY_BYTES = 4096
"""No source states Kodo's limit. Base64 of this much still fits the 8 KiB request line of a common proxy."""


class Selection:
    """Which files below the source are mirrored: gitignore-style patterns, relative to the source.

    A file counts when no exclude pattern names it or a directory above it, and, if there are include
    patterns, one of them names it. Patterns without a slash are matched on the bare name by one regular
    expression: a scan asks this of every file, and the general matcher costs it ten times the `stat`.
    """

    def __init__(self, include: Sequence[str] = (), exclude: Sequence[str] = DEFAULT_EXCLUDE) -> None:
        ordered = any(line.startswith("!") for line in exclude)  # a later pattern may take back an earlier one
        bare = [] if ordered else [line for line in exclude if _is_bare(line)]
        rest = [line for line in exclude if line not in bare]
        self._file_name = _any_of(line for line in bare if not line.endswith("/"))
        self._directory_name = _any_of(line.rstrip("/") for line in bare)
        self._excluded = GitIgnoreSpec.from_lines(rest) if rest else None
        self._included = GitIgnoreSpec.from_lines(include) if include else None

    def takes_file(self, directory: str, name: str) -> bool:
        """Whether the file `name` in `directory` ("" or ending in "/"), itself not pruned, is mirrored."""
        if self._file_name is not None and self._file_name(name):
            return False
        if self._excluded is not None and self._excluded.match_file(directory + name):
            return False
        return self._included is None or self._included.match_file(directory + name)

    def prunes(self, directory: str, name: str) -> bool:
        """Whether nothing below the directory `name` in `directory` can be mirrored."""
        if self._directory_name is not None and self._directory_name(name):
            return True
        return self._excluded is not None and self._excluded.match_file(f"{directory}{name}/")

    def takes(self, path: str) -> bool:
        """`takes_file`, for a path of which nothing is known yet."""
        directory, _, name = path.rpartition("/")
        return not self.prunes_path(directory) and self.takes_file(directory and directory + "/", name)

    def prunes_path(self, directory: str) -> bool:
        """Whether `directory` or one above it is pruned."""
        at = ""
        for name in directory.split("/") if directory else ():
            if self.prunes(at, name):
                return True
            at = f"{at}{name}/"
        return False


_CLASS = re.compile(r"\[[!^]?(?:[^][\\^!-](?:-\w)?)+\]")
"""The bracket expressions that fnmatch reads as git does, once `[^` is `[!`; not one that is never closed."""


def _is_bare(line: str) -> bool:
    if not line.strip("/"):
        return False
    if "[" in _CLASS.sub("", line):
        return False
    return "/" not in line.rstrip("/") and "\\" not in line and line.strip() == line and line[:1] not in ("", "#", "!")


def _any_of(globs: Iterable[str]) -> Callable[[str], bool] | None:
    """Whether a name matches one of `globs`. Most are `*` and an ending, or begin with a certain character:

    both can be told without the regular expression, which takes as long as everything else that a scan
    does with a name.
    """
    endings, others = list[str](), list[str]()
    for glob in (glob.replace("[^", "[!") for glob in globs):
        if glob.startswith("*") and not _WILD.search(glob[1:]):
            endings.append(glob[1:])
        else:
            others.append(glob)
    ending, pattern = tuple(endings), re.compile("|".join(map(fnmatch.translate, others)) or r"(?!)").match
    beginnings = {_beginning(glob) for glob in others}
    if None in beginnings:
        return lambda name: name.endswith(ending) or pattern(name) is not None
    if others:
        return lambda name: name.endswith(ending) or (name[:1] in beginnings and pattern(name) is not None)
    return (lambda name: name.endswith(ending)) if endings else None


def _beginning(glob: str) -> str | None:
    """The one character that names matching `glob` begin with; None when that is not certain."""
    if glob[:1] == "[" and glob[2:3] == "]" and glob[1] != "!":
        return glob[1]
    return None if _WILD.match(glob) else glob[0]


_WILD = re.compile(r"[*?\[]")


def key_for(path: str, prefix: str) -> str | Rejection:
    """The key of a path below the source, exactly as named: no Unicode folding, no escaping.

    `path` is `/`-separated and decoded with surrogateescape, so that a name that is not UTF-8 can be told.
    """
    key = prefix + path
    try:
        size = len(key) if key.isascii() else len(key.encode())
    except UnicodeEncodeError:
        shown = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        return Rejection(name=shown, reason="the name is not UTF-8, and Kodo takes no other key")
    if size > MAX_KEY_BYTES:
        return Rejection(name=path, reason=f"the key has {size} bytes; at most {MAX_KEY_BYTES} fit a request")
    return key


def path_for(key: str, prefix: str) -> str | None:
    """The path below the source that `key` stands for; None when the key is not below `prefix`."""
    return key[len(prefix) :] if key.startswith(prefix) else None
