"""The report is one valid page that holds everything it shows."""

import base64
import io
from html.parser import HTMLParser
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from lowland import DomainError
from lowland.plot import Report

VOID = {"meta", "img", "br", "link"}


class Page(HTMLParser):
    """The elements and the text of a page, refused unless every element is closed in order."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, list[str]] = {}
        self.feed(source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.text.setdefault(self.open[-1], []).append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def _figure() -> Figure:
    figure = Figure(figsize=(2, 1))
    figure.add_subplot().plot([0, 1], [0, 1])
    return figure


def _page(report: Report) -> Page:
    return Page(report.html())


def test_the_page_is_whole_and_needs_nothing_else() -> None:
    report = Report("Digits").text("Hello.").figure(_figure(), "A line.", "A line that rises.")
    source = report.html()
    page = Page(source)
    assert source.startswith("<!DOCTYPE html>")
    assert page.all("html") == [{"lang": "en"}]
    assert {"charset": "utf-8"} in page.all("meta")
    assert "viewport" in {meta.get("name") for meta in page.all("meta")}
    assert page.text["title"] == page.text["h1"] == ["Digits"]
    assert not page.all("script")
    assert not page.all("link")
    assert "http" not in source
    assert "prefers-color-scheme: dark" in source
    assert "@media print" in source


def test_pictures_are_inside_the_page() -> None:
    (picture,) = _page(Report("t").figure(_figure(), "caption", 'a "quoted" <alt>')).all("img")
    assert picture["alt"] == 'a "quoted" <alt>'
    kind, encoded = str(picture["src"]).split(",")
    assert kind == "data:image/png;base64"
    image = Image.open(io.BytesIO(base64.b64decode(encoded, validate=True)))
    image.load()
    assert image.size == (320, 160)
    assert (picture["width"], picture["height"]) == ("192", "96")
    with pytest.raises(DomainError, match="alt"):
        Report("t").figure(_figure(), "caption", " ")


def test_text_is_escaped_everywhere() -> None:
    evil = "<script>alert('&')</script>"
    report = Report(evil).text(f"{evil}\n\n- {evil}\n\n## {evil}\n\n`{evil}`")
    report.table([evil], [[evil]], evil).figure(_figure(), evil, evil)
    page = _page(report)
    assert not page.all("script")
    for tag in ("title", "h1", "p", "li", "h2", "code", "th", "td", "caption", "figcaption"):
        assert "".join(page.text[tag]) == evil, tag


def test_text_has_headings_lists_code_and_bold() -> None:
    report = Report("t").text(
        """
        ## Results
        First line,
        same paragraph with **weight** and `code **as is**`.

        - one
        - two

        An odd ` backquote, 2 * 3 and a # hash.
        """
    )
    page = _page(report)
    assert page.text["h2"] == ["Results"]
    assert "".join(page.text["p"]).startswith("First line, same paragraph with ")
    assert page.text["strong"] == ["weight"]
    assert page.text["code"] == ["code **as is**"]
    assert page.text["li"] == ["one", "two"]
    assert page.text["p"][-1] == "An odd ` backquote, 2 * 3 and a # hash."


def test_tables_align_numbers_and_mark_the_best() -> None:
    report = Report("t").table(
        ["method", "PSNR (dB)", "seconds"],
        [["a", 12.34567, 3], ["b", float("nan"), 1], ["c", -0.5, None], ["d", float("inf"), 1]],
        "caption",
        best={"PSNR (dB)": "max", "seconds": "min"},
    )
    page = _page(report)
    cells = list(zip(page.text["td"], page.all("td"), strict=True))
    assert [text for text, _ in cells] == [
        *("a", "12.35", "3"), *("b", "nan", "1"), *("c", "−0.5", "–"), *("d", "inf", "1"),
    ]  # fmt: skip
    assert [text for text, found in cells if "best" in str(found.get("class"))] == [
        "12.35", "1", "1",
    ]  # fmt: skip
    assert ["number" in str(found.get("class")) for _, found in cells[:3]] == [False, True, True]
    assert all(found["scope"] == "col" for found in page.all("th"))
    assert page.text["caption"] == ["caption"]


def test_tables_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DomainError, match=r"Row 1 .* 2 cells"):
        Report("t").table(["a", "b"], [[1, 2], [3]], "caption")
    with pytest.raises(DomainError, match="'best'"):
        Report("t").table(["a"], [[1]], "caption", best={"b": "max"})
    with pytest.raises(DomainError, match="'best'"):
        Report("t").table(["a"], [[1]], "caption", best={"a": "largest"})


def test_write_replaces_the_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("before")
    report = Report("größer ≥ β")
    assert report.write(str(path)) == path
    assert path.read_text(encoding="utf-8") == report.html()
    assert "\\ud800" in Report("\ud800").write(path).read_text(encoding="utf-8")
    assert list(tmp_path.iterdir()) == [path]


def test_an_unwritable_path_has_a_clear_error(tmp_path: Path) -> None:
    report = Report("t")
    with pytest.raises(DomainError, match=r"cannot be written.*No such file or directory"):
        report.write(tmp_path / "missing" / "report.html")
    with pytest.raises(DomainError, match="it is a folder"):
        report.write(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(DomainError, match="Not a directory"):
        report.write(tmp_path / "file" / "report.html")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_disk_that_fills_up_leaves_the_older_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.html"
    path.write_text("before")

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(DomainError, match="No space left"):
        Report("t").write(path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
