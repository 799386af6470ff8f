"""Names that a file may have, and that a page must bear."""

_SEEDS = (
    "<script>alert(document.domain)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "</title></main></body><script>alert(2)</script>",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(3)",
    "&lt;b&gt;&amp;",
    "line\nbreak\ttab\rreturn",
    "\x1b[31mred\x07",
    "\u202egnp.exe",
    "مرحبا/بالعالم.html",
    "文档/第一章.html",
    "Z\u0336\u0341\u0342a\u0336l\u0340go",
    "a?b=c&d=e#f;g%00%2e%2e+h",
    " leading and  double ",
    "--config=/etc/passwd",
    "\\n\\x00",
    "w" * 700,
    "👨\u200d👩\u200d👧",
    "\ufeff\u200b\u2028\u2029",
    "../../../../etc/passwd",
)


def names(count: int) -> list[str]:
    """So many different ones, none longer than Kodo takes."""
    return [f"{_SEEDS[number % len(_SEEDS)]}{number}" for number in range(count)]
