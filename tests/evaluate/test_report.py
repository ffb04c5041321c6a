"""The report page: everything inside, every number there, nothing of the input trusted."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from reactdist.evaluate.report import (
    CheckRow,
    Reaction,
    ReportData,
    Score,
    ScoreRow,
    Search,
    Trial,
    number,
    render,
    write_report,
)
from reactdist.schema import ATTRIBUTES


class Page(HTMLParser):
    """What a browser would find: ids, addresses, tags that stay open, table cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.cell: list[str] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in {"meta", "img", "br"}:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id" and value:
                self.ids.append(value)
            if name in {"src", "href", "xlink:href"} and value:
                self.addresses.append(value)
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.cell = []

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in {"meta", "img", "br"}:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.cell is not None:
            self.cell.append(data)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag in {"td", "th"} and self.cell is not None:
            self.rows[-1].append(" ".join(self.cell))
            self.cell = None


@pytest.fixture(scope="module")
def text(data: ReportData) -> str:
    """The page of `data`."""
    return render(data)


@pytest.fixture(scope="module")
def data() -> ReportData:
    rng = np.random.default_rng(0)
    frames = 50
    reaction = Reaction(
        title="NoXI/001/Expert_video/1",
        speaker=rng.normal(size=(frames, 25)),
        listener=rng.normal(size=(frames, 25)),
        samples=rng.normal(size=(10, frames, 25)),
        attributes=ATTRIBUTES,
    )
    trials = [
        Trial("t0", {"kl": 1e-6, "window": 8}, [1, 2, 3], [0.1, 0.2, 0.3]),
        Trial("t1", {"kl": 1e-3, "window": 16}, [1], [0.05], stopped_early=True),
        Trial("t2", {"kl": 1e-5, "window": 8}, [1, 2], [float("nan"), 0.15]),
    ]
    return ReportData(
        title="<script>alert(1)</script> & study",
        summary="a < b",
        facts={"Data": {"fingerprint": "abc123", "path": "<b>x</b>"}},
        scores=[
            ScoreRow("champion", {"FRCorr": Score(0.4123, 0.38, 0.45), "FRSyn": 44.0}, "model"),
            ScoreRow(
                "MeanFr", {"FRCorr": 0.0, "FRSyn": np.nan, "ACC": Score(0.1, -np.inf, np.inf)}
            ),
            ScoreRow("GT", {"FRCorr": 8.35}, "reference"),
        ],
        checks=[CheckRow("beats Random", "0.41 > 0.05", True), CheckRow("guards", "x", False)],
        search=Search(trials, objective="FRCorr", chosen="t0"),
        reactions=[reaction, replace(reaction, title="second")],
        notes=["ACC is ours"],
    )  # fmt: skip


def test_the_file_is_whole_and_needs_nothing_outside(data: ReportData, tmp_path: Path) -> None:
    path = write_report(tmp_path / "new" / "report.html", data)
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
    text = path.read_text()
    page = Page(text)
    assert page.open == []
    assert not [a for a in page.addresses if not a.startswith(("#", "data:image/png;base64,"))]
    assert "http" not in text
    assert "url(" not in re.sub(r"url\(#\w+\)", "", text)
    assert len(page.ids) == len(set(page.ids)), "two figures must not share clip paths"
    used = set(re.findall(r"url\(#(\w+)\)", text)) | {
        a[1:] for a in page.addresses if a.startswith("#")
    }
    assert used <= set(page.ids)
    images = re.findall(r'base64,([^"]+)"', text)
    assert len(images) == 2
    assert all(base64.b64decode(image)[:4] == b"\x89PNG" for image in images)


def test_text_of_users_is_never_markup(text: str) -> None:
    assert "<script" not in text
    assert "<b>x" not in text
    assert "&lt;script&gt;" in text


def test_the_table_says_every_score_and_why_one_is_missing(text: str) -> None:
    table = Page(text).rows
    rows = {row[0]: row[1:] for row in table if row}
    head = next(row for row in table if "FRCorr ↑" in row)
    assert head[1:] == [
        "FRCorr ↑", "FRDist ↓", "FRDiv ↑", "FRVar ↑", "FRDvs ↑", "FRSyn ↓", "ACC ↑", "FRRea ↓",
    ]  # fmt: skip
    assert rows["champion"] == [
        "0.4123 0.3800 … 0.4500", "not computed", "not computed", "not computed", "not computed",
        "44.00", "–", "not computed: needs Inception weights",
    ]  # fmt: skip
    assert rows["MeanFr"] == ["0", "undefined", "0.1000"], "an unbounded interval is not shown"
    assert rows["GT"] == ["8.35", "–", "–"]


def test_checks_come_out_as_they_are(text: str) -> None:
    assert "1 of 2 checks failed." in text
    assert [row for row in Page(text).rows if "beats Random" in row] == [
        ["✓ pass", "beats Random", "0.41 > 0.05"]
    ]
    assert "3 trials, 1 of them stopped early" in text


def test_an_empty_report_is_a_page_without_sections() -> None:
    text = render(ReportData(title="nothing"))
    assert "<h1>nothing</h1>" in text
    assert "<section" not in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.00012345, "1.2e-04"), (0.12345, "0.1235"), (61.234, "61.23"), (228.33, "228.3"),
     (-0.5, "-0.5000"), (float("inf"), "inf")],
)  # fmt: skip
def test_numbers_keep_three_or_four_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_the_same_data_give_the_same_file(data: ReportData, text: str) -> None:
    assert render(data) == text
