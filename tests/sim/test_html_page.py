"""Pages show text as it is written and keep the parts that are HTML."""

from __future__ import annotations

from html.parser import HTMLParser

from sim.html_page import page, section, table


class Reader(HTMLParser):
    """Text by the innermost element that it stands in."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and data.strip():
            self.texts.append((self.open[-1], data))


def test_texts_are_escaped_and_parts_are_not() -> None:
    evil = "<script>alert(1)</script> & $title"
    rows = [["a", evil], ["b", "–"]]
    reader = Reader()
    reader.feed(page(evil, evil, [evil, "left out"], [section(evil, table(["", evil], rows), evil), "<pre>x</pre>"]))
    reader.close()
    assert not reader.open and "script" not in {tag for tag, _ in reader.texts}
    found = [tag for tag, text in reader.texts if text == evil]
    assert found == ["title", "h1", "p", "p", "h2", "th", "td", "p"]
    assert ("p", "left out") in reader.texts and ("pre", "x") in reader.texts and ("td", "–") in reader.texts
