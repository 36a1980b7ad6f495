"""That following a page can fail: what is shown must have been printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.page import blocks, first_difference, follow

PAGE = """\
Text.

```bash
echo one; echo 0.501; echo three
```

```text
one
0.50
three
```

```python
number = 6
```

Then

```python
number * 7
```

```text
42
```

```yaml
not: run
```
"""


def test_a_page_is_followed_block_by_block(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    assert [(block.language, block.line, block.shown is None) for block in blocks(page)] == [
        ("bash", 3, False),
        ("python", 13, True),
        ("python", 19, False),
    ]
    follow(page, tmp_path)
    for old, new in (("42", "41"), ("0.50\n", "0.53\n"), ("three\n```\n\n```p", "```\n\n```p"), ("echo one", "false")):
        assert old in PAGE
        page.write_text(PAGE.replace(old, new))
        with pytest.raises(AssertionError):
            follow(page, tmp_path)


@pytest.mark.parametrize(
    ("shown", "printed", "missing"),
    [
        ("a b", "a   b\n", None),
        ("a\n…\nc", "a\nb\nb\nc\n", None),
        ("took … s", "took 3.1 s", None),
        ("…", "", None),
        ("a\n…", "a\nb", None),
        ("a", "a\nb", "nothing, where it says: b"),
        ("a\nb", "a\nc", "b"),
        ("0.50 x", "0.51 x", None),
        ("0.50 x", "0.55 x", "0.50 x"),
        ("5 x", "6 x", "5 x"),
        ("a.b", "axb", "a.b"),
    ],
)
def test_what_is_shown_and_what_is_printed(shown: str, printed: str, missing: str | None) -> None:
    assert first_difference(shown, printed) == missing
