"""A user's table of companies, and where a text names them, whatever way the names are written.

Names are compared in a normal form (`normal_form`): NFKC, lower case, one sign for hyphens and long
vowels, no spaces and dots; without the legal form. What is found has exact characters of the text.
"""

import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ..errors import DataError, Errors
from ..types import Ints
from ..wordpieces.alignment import map_offsets
from .readers import Row, read_rows

FORMS = (
    *("株式会社", "有限会社", "合同会社", "合資会社", "合名会社", "相互会社"),
    *("(株)", "(有)", "(同)", "(資)", "(名)", "(相)"),
)
"""Legal forms in normal form, before or after a name. NFKC makes (株) of ㈱, 株式会社 of ㍿."""
GOES_ON = ("グループ", "本社", "社")
"""What may follow a name inside of an entity that still is the company's."""

_ONE_DASH = dict.fromkeys("-‐‑‒–—―−─~〜", "ー")
_LEFT_OUT = dict.fromkeys(" \t・.", "")
_SIGNS = str.maketrans(_ONE_DASH | _LEFT_OUT)
_VOICED = "ﾞﾟ\u3099\u309a"
_SEPARATORS = str.maketrans(dict.fromkeys("；|｜", ";"))


@dataclass(frozen=True)
class Company:
    """A row of the table. code (str): What mentions are linked to. aliases (tuple): Other names."""

    code: str
    name: str
    sector: str = ""
    aliases: tuple[str, ...] = ()


class Mention(NamedTuple):
    """Where a text names a company.

    start, end (int): Characters, the legal form beside the name included.
    codes (tuple[str, ...]): Of the company; of several where an ambiguous alias stands there.
    """

    start: int
    end: int
    codes: tuple[str, ...]


def normal_form(text: str) -> str:
    """RETURNS (str): NFKC, lower case, one sign for hyphens, dashes and long vowels, without spaces
    and dots."""
    return unicodedata.normalize("NFKC", text).casefold().translate(_SIGNS)


def core_name(name: str) -> str:
    """RETURNS (str): The normal form of a name without its legal form."""
    core, before = normal_form(name), ""
    while core != before:
        before = core
        for form in FORMS:
            core = core.removeprefix(form).removesuffix(form)
    return core


def read_companies(path: Path, encoding: str | None = None) -> list[Company]:
    """Read a table with the columns code, name and, where wanted, sector and aliases (separated by
    ; or |): CSV, TSV, Excel, JSONL and whatever else `read_rows` reads.

    RAISES: DataError J562, J563, J564, and what `read_rows` raises.
    """
    companies: list[Company] = []
    codes: set[str] = set()
    for row in read_rows(path, encoding=encoding, bar=False):
        company = _company(row)
        if company.code in codes:
            raise row.error(Errors.J563.format(code=company.code))
        codes.add(company.code)
        companies.append(company)
    if not companies:
        raise DataError(Errors.J564, path=path)
    return companies


def _company(row: Row) -> Company:
    code, name = row.name("code").strip(), row.text("name").strip()
    sector = row.text("sector").strip() if row.fields.get("sector") is not None else ""
    aliases = tuple(filter(None, map(str.strip, _aliases(row))))
    if not code:
        raise row.error(Errors.J562.format(field="code", value=code))
    for value in (name, *aliases):
        # A single character would be found in every other text.
        if len(core_name(value)) < 2:
            raise row.error(Errors.J562.format(field="name", value=value))
    return Company(code, name, sector, aliases)


def _aliases(row: Row) -> list[str]:
    """RETURNS (list[str]): A list of JSON's, or what separators are between."""
    written = row.fields.get("aliases")
    if written is None:
        return []
    if isinstance(written, list):
        return [row.text(f"aliases.{i}") for i in range(len(written))]
    return row.text("aliases").translate(_SEPARATORS).split(";")


class CompanyIndex:
    """Finds the names of companies in texts.

    companies (Iterable[Company]): The table.
    """

    def __init__(self, companies: Iterable[Company]) -> None:
        self.companies = {company.code: company for company in companies}
        self.codes: dict[str, tuple[str, ...]] = {}
        for company in self.companies.values():
            for core in {core_name(name) for name in (company.name, *company.aliases)}:
                self.codes[core] = (*self.codes.get(core, ()), company.code)
        lengths: dict[str, set[int]] = {}
        for core in self.codes:
            lengths.setdefault(core[:2], set()).add(len(core))
        # By their first two characters how long the names are, the longest first.
        self._lengths = {start: sorted(found, reverse=True) for start, found in lengths.items()}

    @property
    def ambiguous(self) -> dict[str, tuple[str, ...]]:
        """RETURNS (dict): Names, in normal form, of several companies, with their codes."""
        return {core: codes for core, codes in self.codes.items() if len(codes) > 1}

    def find(self, text: str) -> list[Mention]:
        """Find the companies that a text names: the longest names, from left to right.

        Letters, digits and katakana end where another kind of character begins: NEC isn't in
        CONNECT, nor ソニー in パーソニー. Kanji have no such borders. An alias of several companies
        means the one that the text names otherwise too, if there is one.

        RETURNS (list[Mention]): In the order of the text.
        """
        mentions = list(self._find(text))
        clear = {mention.codes[0] for mention in mentions if len(mention.codes) == 1}
        return [_settled(mention, clear) for mention in mentions]

    def _find(self, text: str) -> Iterator[Mention]:
        normal, starts, ends = map_offsets(text, normal_form)
        position = free = 0
        while position < len(normal):
            end = self._end(text, normal, starts, ends, position)
            if end is None:
                position += 1
                continue
            first, last = _with_form(normal, position, end, free)
            codes = self.codes[normal[position:end]]
            yield Mention(int(starts[first]), int(ends[last - 1]), codes)
            position = free = last

    def _end(self, text: str, normal: str, starts: Ints, ends: Ints, position: int) -> int | None:
        """Where the longest name ends that begins at a position of the normal form."""
        for length in self._lengths.get(normal[position : position + 2], ()):
            end = position + length
            if end <= len(normal) and normal[position:end] in self.codes:
                inside = _is_cut(text, int(starts[position])) or _is_cut(text, int(ends[end - 1]))
                if not inside:
                    return end
        return None


def _settled(mention: Mention, clear: set[str]) -> Mention:
    named = tuple(code for code in mention.codes if code in clear)
    return mention._replace(codes=named) if len(named) == 1 else mention


def _with_form(normal: str, start: int, end: int, free: int) -> tuple[int, int]:
    """Take in the legal form before a name, or else the one behind it.

    free (int): What is before that belongs to another name.
    """
    for form in FORMS:
        if normal.startswith(form, start - len(form)) and start - len(form) >= free:
            return start - len(form), end
    for form in FORMS:
        if normal.startswith(form, end):
            return start, end + len(form)
    return start, end


def _is_cut(text: str, position: int) -> bool:
    """Whether a word of letters and digits, or of katakana, goes on at a position."""
    if not 0 < position < len(text):
        return False
    before = position - 1
    # A sign of its own in half width (ﾊﾞ), and where text isn't composed.
    while before > 0 and text[before] in _VOICED:
        before -= 1
    if text[position] in _VOICED:
        return True
    kind = _kind(text[before])
    return kind != "" and kind == _kind(text[position])


def _kind(char: str) -> str:
    char = unicodedata.normalize("NFKC", char)[0]
    if char.isalnum() and char < "\u0250":
        return "latin"
    return "katakana" if "ァ" <= char <= "ヺ" or char == "ー" else ""
