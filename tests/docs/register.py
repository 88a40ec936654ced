"""The register of everything that people read here: plain English that a reader of a second language understands.

The rules are those of CONTRIBUTING.md, section "Language". Each finding is one line, `path:line: what is wrong`.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from inspect import cleandoc
from pathlib import Path

BANNED = {
    "nought": "0",
    "nobody": "no process, no listener, no one",
    "somebody": "the operator, a developer, another process",
    "anybody": "anyone, or the actor's name",
    "whoever": "the process that",
    "whomever": "the person that",
    "whatever": "any, every, or the noun",
    "told": "informed, configured, reported",
    "hear": "receive",
    "hears": "receives",
    "heard": "received",
    "graves": "buried deadlines",
    "in vain": "without result",
    "of one mind": "alike",
    "by far": "nothing",
    "mend": "fix",
    "mends": "fixes",
    "mended": "fixed",
    "mending": "fixing",
    "anew": "again",
    "lest": "so that ... not",
    "hence": "so",
    "for nothing": "without effect",
    "oftener": "more often",
    "to and fro": "both ways",
}
"""What is not written here, with what may stand in its place."""

NO_FIRST_WORD = {"Give", "Gives", "Answer", "Tell", "Tells", "Hear", "Say", "Says"}
"""With what no docstring begins: what is returned is introduced by "Return"."""

MOST_WORDS = 25
"""The most words in one sentence of a docstring or a page."""

PROSE = {".md"}
LINES = {".sql", ".html", ".js"}
COMMENTS = {".lua": re.compile(r"--(?! KEYS).*")}
"""What is read of a script. A header of KEYS names what is stored on the server, which keeps its names."""

_BANNED = re.compile(rf"\b({'|'.join(BANNED)})\b", re.IGNORECASE)
_CODE = re.compile(r"``?[^`]*``?")
_DOUBLED = re.compile(r"(?<=\w)\.\.(?=\s|$)|\.\s\.(?:\s|$)")
_FENCE = re.compile(r"```.*?```", re.DOTALL)
_MADE = re.compile(r"<!-- made: \w+ -->.*?<!-- made: end -->", re.DOTALL)
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_BLOCK = re.compile(r"\n\s*\n|\n\s*(?:[-*|>#│├└]|\d+\.)\s?|\n {4}")  # what is indented by four is drawn, not written
_SENTENCE = re.compile(r"(?<=[.!?])[)\"*_]*\s+(?=[\"(*_]*[A-Z0-9])|[:;|]\s")
_WORD = re.compile(r"[\w'’]+(?:[-/.][\w'’]+)*")
_RETURNS = re.compile(r"\b(?:return|yield)(?:s|ed)?\b", re.IGNORECASE)
_NOTHING = {"None", "NoReturn", "Never"}
_NOT_CALLED = {"property", "cached_property", "contextmanager", "asynccontextmanager", "fixture", "overload", "setter"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One place that breaks a rule."""

    path: Path
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


def findings(path: Path, *, returns: bool) -> Iterator[Finding]:
    """Yield what breaks a rule in one file; with `returns`, also docstrings that do not say what is returned."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        found = _in_python(text, returns=returns)
    elif path.suffix in PROSE:
        found = _in_page(text)
    else:
        part = COMMENTS.get(path.suffix, re.compile(".*"))
        lines = enumerate(text.splitlines(), start=1)
        found = ((number, what) for number, line in lines for said in part.findall(line) for what in _words(said))
    for line, what in found:
        yield Finding(path, line, what)


def _in_page(text: str) -> Iterator[tuple[int, str]]:
    """Yield line and fault for each paragraph of a page, without its blocks of code and its generated parts."""
    for left_out in (_FENCE, _MADE):
        text = left_out.sub(lambda found: "\n" * found[0].count("\n"), text)
    line = 1
    for paragraph in re.split(r"(\n\s*\n)", text):
        for what in (*_words(paragraph), *_long_sentences(paragraph)):
            yield line, what
        line += paragraph.count("\n")


def _in_python(text: str, *, returns: bool) -> Iterator[tuple[int, str]]:
    prose: set[ast.AST] = set()  # docstrings, and strings below a constant that say what the constant is
    for node in ast.walk(ast.parse(text)):  # outer nodes first: a statement comes before the string in it
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() if returns and _returns_something(node):
                if not _RETURNS.search(ast.get_docstring(node) or "return"):
                    yield node.lineno, f"{node.name}() returns a value: its docstring says 'Return ...'"
            case ast.Expr(value=ast.Constant(value=str(said))):
                prose.add(node.value)
                for what in (*_first_word(said), *_words(said), *_long_sentences(cleandoc(said))):
                    yield node.lineno, what
            case ast.Constant(value=str(said)) if " " in said and node not in prose:
                for what in _words(said):
                    yield node.lineno, what
            case _:
                pass
    # A comment ends its line, so what is wrong in it is wrong in what follows the line's first "#". To divide the text
    # into tokens takes longer than all the rest, and is seldom needed.
    is_suspect = any(any(_words(line.partition("#")[2])) for line in text.splitlines())
    for token in tokenize.generate_tokens(io.StringIO(text).readline) if is_suspect else ():
        for what in _words(token.string) if token.type == tokenize.COMMENT else ():
            yield token.start[0], what


def _first_word(docstring: str) -> Iterator[str]:
    first = (docstring.split(maxsplit=1) or [""])[0].strip(",.:;")
    if first in NO_FIRST_WORD:
        yield f"a docstring begins with {first!r}: what is returned is introduced by 'Return'"


def _returns_something(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Return whether the function hands a value to its caller. A property's docstring may be a noun."""
    if function.returns is None or ast.unparse(function.returns) in _NOTHING:
        return False
    decorators = {ast.unparse(decorator).split("(")[0].split(".")[-1] for decorator in function.decorator_list}
    return not decorators & _NOT_CALLED and not (function.name.startswith("__") and function.name.endswith("__"))


def _words(text: str) -> Iterator[str]:
    plain = _CODE.sub("X", text)
    for found in _BANNED.finditer(plain):
        yield f"{found[0]!r} is not used here; perhaps {BANNED[found[0].lower()]!r}"
    if _DOUBLED.search(plain):
        yield "a doubled full stop"


def _long_sentences(text: str) -> Iterator[str]:
    for block in _BLOCK.split(_FENCE.sub(" ", text)):
        line = _CODE.sub("X", _LINK.sub(r"\1", " ".join(block.split())))
        for sentence in _SENTENCE.split(line):
            count = len(_WORD.findall(sentence or ""))
            if count > MOST_WORDS:
                yield f"a sentence of {count} words, {MOST_WORDS} are the most: {sentence[:60]}…"
