"""Which names are mirrored, as git would say, and what their keys are called."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pathspec import GitIgnoreSpec

from mirrord.decisions.keymap import MAX_KEY_BYTES, Selection, key_for, path_for
from mirrord.model.change import Rejection

# no newline: pathspec's `$` takes "a\n" for "a", which git does not
names = st.text(alphabet="abAB01.~#*?![]-^ +{}", min_size=1, max_size=8).filter(lambda name: name not in (".", ".."))
pieces = ["a", "b", "A", ".", "~", "#", "*", "?", "-", "+", "{", "]", "**", "[ab]", "[a-c]", "[#.]"]
negations = ["[!a]", "[^a]", "[!a-b0]"]  # for names only: pathspec lets these match a slash, which git does not


def bare_patterns(pieces: list[str]) -> st.SearchStrategy[list[str]]:
    parts = st.lists(st.sampled_from(pieces), min_size=1, max_size=5)
    line = st.builds(lambda parts, slash: "".join(parts) + slash, parts, st.sampled_from(["", "/"]))
    return st.lists(line.filter(lambda line: not line.startswith("#")), min_size=1, max_size=4)


@given(bare_patterns(pieces + negations), names)
def test_bare_patterns_exclude_the_files_that_git_would(exclude: list[str], name: str) -> None:
    git = GitIgnoreSpec.from_lines(exclude)

    selection = Selection(exclude=exclude)

    assert selection.takes_file("", name) is not git.match_file(name)


@given(bare_patterns(pieces), names)
def test_bare_patterns_prune_the_directories_that_git_would(exclude: list[str], name: str) -> None:
    git = GitIgnoreSpec.from_lines(exclude)

    assert Selection(exclude=exclude).prunes("", name) is git.match_file(name + "/")


@given(bare_patterns(pieces), st.lists(names, min_size=1, max_size=4))
def test_a_whole_path_is_taken_when_git_would_not_ignore_it(exclude: list[str], parts: list[str]) -> None:
    path = "/".join(parts)

    assert Selection(exclude=exclude).takes(path) is not GitIgnoreSpec.from_lines(exclude).match_file(path)


@pytest.mark.parametrize(
    ("exclude", "path", "taken"),
    [
        pytest.param(["*.log"], "a.log", False, id="name"),
        pytest.param(["*.log"], "d/e/a.log", False, id="name-anywhere"),
        pytest.param(["*.log"], "a.log.gz", True, id="whole-name"),
        pytest.param(["*.LOG"], "a.log", True, id="case-counts"),
        pytest.param(["/a"], "a", False, id="anchored"),
        pytest.param(["/a"], "d/a", True, id="anchored-elsewhere"),
        pytest.param(["d/*.tmp"], "d/x.tmp", False, id="path"),
        pytest.param(["d/*.tmp"], "e/d/x.tmp", True, id="path-elsewhere"),
        pytest.param(["**/cache/*"], "a/b/cache/x", False, id="double-star"),
        pytest.param(["build/"], "build", True, id="directory-pattern-spares-a-file"),
        pytest.param(["build/"], "d/build/x", False, id="below-a-directory"),
        pytest.param(["[^a].txt"], "b.txt", False, id="caret-negates-too"),
        pytest.param(["[^a].txt"], "a.txt", True, id="caret-spares"),
        pytest.param(["a[!b]"], "a/x", True, id="a-class-never-takes-a-slash"),
        pytest.param(["a[^b]/"], "ac/x", False, id="a-negated-directory"),
        pytest.param(["[a"], "[a", True, id="a-bracket-never-closed-names-nothing"),
        pytest.param(["# comment", ""], "# comment", True, id="comments-and-blank-lines"),
        pytest.param([r"\#x"], "#x", False, id="escaped-hash"),
        pytest.param([r"\!x"], "!x", False, id="escaped-bang"),
        pytest.param(["x "], "x", False, id="trailing-space-goes"),
        pytest.param(["a"], "a\n", True, id="newline-is-part-of-the-name"),
        pytest.param(["*.log", "!keep.log"], "keep.log", True, id="taken-back"),
        pytest.param(["*.log", "!keep.log"], "lose.log", False, id="others-stay-excluded"),
        pytest.param(["!keep.log", "*.log"], "keep.log", False, id="later-pattern-wins"),
        pytest.param(["d/", "!d/keep"], "d/keep", False, id="nothing-comes-back-from-an-excluded-directory"),
        pytest.param(["d/*", "!d/keep"], "d/keep", True, id="comes-back-from-an-excluded-content"),
        pytest.param([], "a.tmp", True, id="nothing-excluded"),
    ],
)
def test_a_path_is_taken_or_not(exclude: list[str], path: str, taken: bool) -> None:
    assert Selection(exclude=exclude).takes(path) is taken


@pytest.mark.parametrize(
    ("include", "exclude", "path", "taken"),
    [
        pytest.param([], [], "a.txt", True, id="no-include-takes-all"),
        pytest.param(["*.html"], [], "d/a.html", True, id="included"),
        pytest.param(["*.html"], [], "d/a.txt", False, id="not-included"),
        pytest.param(["docs/"], [], "docs/d/a.txt", True, id="below-an-included-directory"),
        pytest.param(["docs/"], [], "a/b.txt", False, id="outside-the-included-directory"),
        pytest.param(["*.html", "!draft.html"], [], "draft.html", False, id="taken-back"),
        pytest.param(["*.html"], ["old.*"], "old.html", False, id="exclude-wins"),
        pytest.param(["*.html"], ["old/"], "old/a.html", False, id="excluded-directory-wins"),
    ],
)
def test_include_patterns_narrow_what_exclude_leaves(
    include: list[str], exclude: list[str], path: str, taken: bool
) -> None:
    assert Selection(include=include, exclude=exclude).takes(path) is taken


@pytest.mark.parametrize(
    ("include", "exclude", "path", "pruned"),
    [
        pytest.param([], ["cache"], "a/cache", True, id="name"),
        pytest.param([], ["cache/"], "a/cache", True, id="directory-name"),
        pytest.param([], ["cache/"], "cache/deep/er", True, id="one-above"),
        pytest.param([], ["/cache"], "a/cache", False, id="anchored-elsewhere"),
        pytest.param([], ["cache/*", "!cache/keep"], "cache", False, id="content-excluded-but-not-itself"),
        pytest.param(["*.html"], [], "images", False, id="an-include-prunes-nothing"),
        pytest.param([], ["*"], "", False, id="never-the-source-itself"),
    ],
)
def test_a_directory_is_pruned_when_nothing_below_can_count(
    include: list[str], exclude: list[str], path: str, pruned: bool
) -> None:
    assert Selection(include=include, exclude=exclude).prunes_path(path) is pruned


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(".index.html.Xa81Zq", id="rsync"),
        pytest.param("docs/.index.html.Xa81Zq", id="rsync-below"),
        pytest.param("docs/.rsync-partial/index.html", id="rsync-partial-dir"),
        pytest.param(".~tmp~/index.html", id="rsync-delay-updates"),
        pytest.param(".index.html.swp", id="vim-swap"),
        pytest.param(".index.html.swo", id="vim-second-swap"),
        pytest.param(".index.html.swx", id="vim-probe"),
        pytest.param("index.html~", id="backup"),
        pytest.param(".#index.html", id="emacs-lock"),
        pytest.param("#index.html#", id="emacs-autosave"),
        pytest.param(".goutputstream-ABC123", id="gedit"),
        pytest.param(".~lock.a.odt#", id="libreoffice"),
        pytest.param("a.py___jb_tmp___", id="jetbrains"),
        pytest.param("a.tmp", id="tmp"),
        pytest.param("big.iso.part", id="half-a-download"),
        pytest.param("big.iso.crdownload", id="half-a-chrome-download"),
        pytest.param("big.iso.filepart", id="half-a-winscp-upload"),
        pytest.param(".nfs000000000001", id="nfs"),
        pytest.param(".fuse_hidden0001", id="fuse"),
        pytest.param(".git/HEAD", id="git"),
        pytest.param("sub/.svn/entries", id="svn"),
    ],
)
def test_names_on_their_way_to_becoming_a_file_are_excluded_by_default(path: str) -> None:
    assert not Selection().takes(path)


@pytest.mark.parametrize(
    "path",
    [
        ".htaccess",
        ".well-known/acme-challenge/x",
        ".well-known/security.txt",
        "a.b.c",
        "archive.tar.gz",
        "jquery.min.abc123",
        "index.html",
        "README",
        "tmp/a",
        "part",
        "party",
        "a.swift",
        "a.swf",
        ".gitignore",
        "github/x",
        "a#b",
        "c~d",
        "~user/x",
        "中文.txt",
        "a b",
        "%20",
    ],
)
def test_ordinary_names_are_kept_by_default(path: str) -> None:
    assert Selection().takes(path)


@pytest.mark.parametrize(
    "path",
    [
        "a",
        "d/e/a.txt",
        "a:b",
        "a%20b",
        "a?b",
        "a#b",
        "a\nb",
        "a\\b",
        " a ",
        "-",
        "中文 空格",
        "😀",
        "e\u0301",
        "\u00e9",
    ],
)
def test_a_key_is_named_exactly_as_the_path(path: str) -> None:
    assert key_for(path, "") == path


@given(st.text(max_size=50), st.text(max_size=50))
def test_the_path_of_a_key_is_the_one_it_was_made_of(path: str, prefix: str) -> None:
    key = key_for(path, prefix)

    assert key == prefix + path
    assert path_for(prefix + path, prefix) == path


@given(st.text(max_size=10), st.text(min_size=1, max_size=10))
def test_a_key_outside_the_prefix_has_no_path(key: str, prefix: str) -> None:
    path = path_for(key, prefix)

    assert (path is not None) == key.startswith(prefix)


@given(st.binary(min_size=1, max_size=30))
def test_a_name_becomes_a_key_exactly_when_it_is_utf_8(name: bytes) -> None:
    try:
        expected = name.decode()
    except UnicodeDecodeError:
        expected = None

    key = key_for(name.decode("utf-8", "surrogateescape"), "p/")

    if expected is None:
        assert isinstance(key, Rejection)
        assert "UTF-8" in key.reason
        key.name.encode()  # printable: nothing of the raw bytes is left in it
    else:
        assert key == "p/" + expected


def test_the_bytes_of_a_rejected_name_can_be_read() -> None:
    rejection = key_for("caf\udce9/ü", "")

    assert isinstance(rejection, Rejection)
    assert rejection.name == r"caf\xe9/ü"


@pytest.mark.parametrize(
    ("path", "prefix"),
    [
        pytest.param("a" * MAX_KEY_BYTES, "", id="ascii"),
        pytest.param("a" * (MAX_KEY_BYTES - 2), "p/", id="with-prefix"),
        pytest.param("中" * (MAX_KEY_BYTES // 3) + "a", "", id="bytes-not-characters"),
    ],
)
def test_a_key_may_have_as_many_bytes_as_fit_and_not_one_more(path: str, prefix: str) -> None:
    longer = key_for(path + "b", prefix)

    assert key_for(path, prefix) == prefix + path
    assert isinstance(longer, Rejection)
    assert f"{MAX_KEY_BYTES + 1} bytes" in longer.reason
    assert longer.name == path + "b"
