"""What the pages list is what there is: timers, settings, commands, options, files, tests."""

import ast
import re
from argparse import SUPPRESS
from pathlib import Path

import pytest
from django.core.management import BaseCommand, load_command_class

from lapse.config import MECHANISMS, form_of, traits_of
from lapse.engine import errors
from shop.running import choices
from tests.cli.running import run_here
from tests.docs import cli_reference, made
from tests.docs.pages import CHECKOUT, PAGES, name_of

TIMERS = CHECKOUT / "src" / "lapse" / "timers"
CODE = re.compile(r"`([^`\n]+)`")


def read(name: str) -> str:
    """Read one file of the checkout."""
    return (CHECKOUT / name).read_text(encoding="utf-8")


def rows(page: str, heading: str) -> list[list[str]]:
    """Return the cells of every row of the tables below a heading, without the tables' own headings."""
    below = read(page).split(f" {heading}\n", 1)[1].split("\n## ", 1)[0]
    found: list[list[str]] = []
    for line in below.splitlines():
        if line.startswith("| ---"):
            found.pop()
        elif line.startswith("|"):
            found.append([cell.strip() for cell in line.removeprefix("|").removesuffix("|").split("|")])
    return found


def test_the_table_of_timers_is_the_folder() -> None:
    """Each mechanism's file has a row with its URLs and what its traits say, and each row a file."""
    mechanisms = {module for module, _ in MECHANISMS.values()}
    listed = {}
    for what, urls, durable, shared, precision in rows("README.md", "Timers"):
        found = re.match(r"\[`\w+`\]\(src/(lapse/timers/[\w/]+)\.py\)", what)
        assert found, what
        listed[found[1].replace("/", ".")] = (CODE.findall(urls), durable, shared, precision)
    assert set(listed) == mechanisms
    for mechanism, (addresses, durable, shared, precision) in listed.items():
        schemes = {scheme for scheme, (module, _) in MECHANISMS.items() if module == mechanism}
        traits = traits_of(min(schemes))
        assert {url.removesuffix("://") for url in addresses} == schemes, mechanism
        assert (durable == "yes", shared == "yes") == (traits.durable, traits.shared), mechanism
        assert precision == f"{traits.precision.total_seconds() * 1000:g} ms", mechanism


def test_every_url_has_its_line() -> None:
    """The reference of URLs names every scheme, with an example that its scheme understands."""
    listed = {row[0].strip("`").removesuffix("://") for row in rows("docs/reference/urls.md", "Timer URLs")}
    assert listed == set(MECHANISMS)
    for scheme, _, example in rows("docs/reference/urls.md", "Timer URLs"):
        assert form_of(scheme.strip("`").removesuffix("://")).read(example.strip("`")), example


def test_every_guarantee_has_its_tests() -> None:
    """There are seven; each names files of tests that there are."""
    guarantees = rows("README.md", "What it guarantees")
    assert [row[0] for row in guarantees] == list("1234567")
    for _, _, files in guarantees:
        paths = re.findall(r"\]\(([^)]+)\)", files)
        assert paths
        for path in paths:
            assert "def test_" in read(path), path
            assert "mark.long" not in read(path), f"{path}: `make test` runs the tests of every guarantee"


def test_every_way_to_break_a_guarantee_names_what_there_is() -> None:
    """The files to edit are there, and so are the tests that are to fail."""
    tests = "".join(path.read_text(encoding="utf-8") for path in (CHECKOUT / "tests").rglob("test_*.py"))
    tests += read("src/lapse/testing/conformance.py")
    broken = rows("CONTRIBUTING.md", "Break a guarantee and see its test fail")
    assert len(broken) == 7
    for _, how, fails in broken:
        path, *names = CODE.findall(how)
        source = read(path)
        for name in names:
            assert re.search(rf"\b{re.escape(name)}\b", source) or name == "False", f"{path} has no {name}"
        for test in CODE.findall(fails):
            assert f"def {test}(" in tests, f"there is no {test}"


@pytest.mark.parametrize(
    ("heading", "letter", "count"),
    [("From the race to its test", "R", 29), ("Money that was lost or doubled once", "M", 12)],
)
def test_every_race_has_its_tests(heading: str, letter: str, count: int) -> None:
    """Each race has one row, and each test that a row names is in the file that the row links to."""
    races = rows("docs/explanation/races.md", heading)
    assert [name for name, *_ in races] == [f"{letter}{number}" for number in range(1, count + 1)]
    for *_, held in races:
        check_named_tests("docs/explanation", held)


def test_every_trouble_of_other_shops_has_its_tests() -> None:
    """Each test that a row names is in the file that the row links to."""
    for folder, page, heading in (
        ("docs/how-to", "when-something-is-wrong.md", "From the case to its test"),
        ("docs/explanation", "races.md", "Troubles of other shops"),
    ):
        for _, _, held in rows(f"{folder}/{page}", heading):
            check_named_tests(folder, held)


def check_named_tests(folder: str, held: str) -> None:
    """Check that a cell names tests, and that each is in the file that the link before it leads to."""
    files = re.findall(r"\[([\w.]+)\]\(([^)]+)\): ((?:`\w+`(?:, )?)+)", held)
    assert files, held
    assert len(CODE.findall(held)) == sum(len(CODE.findall(names)) for _, _, names in files), held
    for label, path, names in files:
        file = CHECKOUT / folder / path
        assert file.name == label
        tests = re.findall(r"^ *def (test_\w+)\(", file.read_text(encoding="utf-8"), re.MULTILINE)
        assert set(CODE.findall(names)) <= set(tests), f"{path} has not all of {names}"


def test_the_map_leads_somewhere() -> None:
    """Every path of the map is there."""
    for path, _ in rows("CONTRIBUTING.md", "A map of the house"):
        assert (CHECKOUT / path.strip("`")).exists(), path


def test_every_question_opens_few_files_that_are_there() -> None:
    """A newcomer's question is answered by six files at most."""
    for question, files in rows("CONTRIBUTING.md", "Where to look"):
        paths = CODE.findall(files)
        assert 1 <= len(paths) <= 6, question
        for path in paths:
            assert (CHECKOUT / path).is_file(), path


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_target_of_make_is_there(page: Path) -> None:
    """Every `make …` that a page names is a target."""
    makefile = read("Makefile")
    for target in re.findall(r"(?:`|^)make ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_all_targets_are_described() -> None:
    """The contributor's table has every target that `make help` lists."""
    targets = set(re.findall(r"^([a-z-]+):.*## ", read("Makefile"), re.MULTILINE))
    described = {cell.split()[1].strip("`") for cell, _ in rows("CONTRIBUTING.md", "A fresh machine")}
    assert described == targets


def test_the_settings_of_make_run() -> None:
    """The table has what the program reads, with the default that it has."""
    tree = ast.parse(read("shop/running/choices.py"))
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    read_names = {
        call.args[0].value
        for call in calls
        if isinstance(call.func, ast.Name) and call.func.id == "given" and isinstance(call.args[0], ast.Constant)
    }
    table = {name.strip("`"): default.strip("`") for name, _, default in rows("docs/reference/make-run.md", "Settings")}
    assert set(table) == read_names
    defaults = choices.read({}, CHECKOUT)
    assert (table["PORT"], table["LAPSE_PAYMENT_WINDOW"]) == (str(defaults.port), defaults.window)
    assert table["LAPSE_TIMER"] == defaults.timer


def test_the_extras() -> None:
    """The table of extras is the one in pyproject.toml."""
    section = read("pyproject.toml").split("[project.optional-dependencies]")[1].split("\n[")[0]
    extras = set(re.findall(r"^(\w+) =", section, re.MULTILINE))
    assert {row[0].strip("`") for row in rows("docs/reference/installation.md", "Extras")} == extras


def test_the_error_tree_is_the_one_in_the_code() -> None:
    """The reference shows the tree that the module draws."""
    assert errors.__doc__
    drawn = [line.strip() for line in errors.__doc__.splitlines() if line.startswith("    ")]
    shown = [line.strip() for line in read("docs/reference/errors.md").splitlines()]
    assert [line for line in shown if line in drawn] == drawn


def test_the_reference_of_the_command_line_is_up_to_date() -> None:
    """Where this fails, `python -m tests.docs.cli_reference` writes it again."""
    assert cli_reference.PAGE.read_text(encoding="utf-8") == cli_reference.reference()


@pytest.mark.parametrize("page", made.PARTS, ids=name_of)
def test_what_is_made_is_up_to_date(page: Path) -> None:
    """Where this fails, `python -m tests.docs.made` writes the page's parts again."""
    assert page.read_text(encoding="utf-8") == made.made(page)


def test_every_part_that_is_made_has_its_maker() -> None:
    """A comment without a maker would go stale unseen."""
    for page in PAGES:
        names = re.findall(r"^<!-- made: (\w+) -->$", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert sorted(name for name in names if name != "end") == sorted(made.PARTS.get(page, {})), page


def test_the_command_answers() -> None:
    """`lapse --help` and each command's help name what the reference names."""
    for path in re.findall(r"^#+ `lapse ?(.*)`$", cli_reference.PAGE.read_text(encoding="utf-8"), re.MULTILINE):
        answer = run_here(*path.split(), "--help", COLUMNS="200", NO_COLOR="1")
        assert answer.returncode == 0, answer.stderr
        assert f"Usage: {' '.join(['lapse', *path.split()])}" in answer.stdout


@pytest.mark.parametrize("name", ["lapse_worker", "lapse_sweep", "lapse_arm"])
def test_the_management_commands_options(name: str) -> None:
    """The reference has every option, with its default, and no other."""
    parser = load_command_class("lapse.integrations.django", name).create_parser("manage.py", name)
    here = [action for action in parser._actions if action.option_strings and action.help != SUPPRESS]
    common = {
        option
        for action in BaseCommand().create_parser("manage.py", "any")._actions
        for option in action.option_strings
    }
    own = {action.option_strings[-1]: action for action in here if action.option_strings[-1] not in common}
    listed: dict[str, str] = {}
    command = ""
    for first, option, meaning in rows("docs/reference/django.md", "Commands"):
        command = first.strip("`") or command
        if command == name and option:
            listed[option.strip("`")] = meaning
    assert set(listed) == set(own)
    for option, action in own.items():
        if isinstance(action.default, int | float) and not isinstance(action.default, bool):
            assert f"({action.default:g})" in listed[option], option


def test_every_system_check_is_listed() -> None:
    """The reference has the ids that the checks have, and the page about safety says what to do about each."""
    ids = {
        f"{'lapse_outbox' if path.parent.name == 'outbox' else 'lapse'}.{number}"
        for path in (CHECKOUT / "src/lapse/integrations/django").rglob("*.py")
        for number in re.findall(r"\b[EW]0\d\d\b", path.read_text())
    }
    assert sorted(row[0].strip("`") for row in rows("docs/reference/django.md", "System checks")) == sorted(ids)
    safety = rows("docs/explanation/is-it-safe-in-my-shop.md", "What is refused, and what to write instead")
    assert sorted(found for row in safety for found in CODE.findall(row[0])) == sorted(ids)


@pytest.mark.parametrize(
    ("page", "cases"),
    [
        (
            "docs/explanation/is-it-safe-in-my-shop.md",
            {*(f"a{number}" for number in range(1, 14)), *(f"b{number}" for number in range(1, 8)), "b12"},
        ),
        (
            "docs/how-to/when-something-is-wrong.md",
            {*(f"c{number}" for number in range(1, 20)), *(f"d{number}" for number in range(1, 7)), "b11"},
        ),
    ],
)
def test_every_case_leads_to_its_tests(page: str, cases: set[str]) -> None:
    """Each row of the table names tests that there are, in the files that it names. No case is left out."""
    table = rows(page, "From the case to its test")
    assert set(re.findall(r"_([abcd]\d+)(?=_)", " ".join(where for _, _, where in table))) == cases
    for case, _, where in table:
        assert CODE.findall(where), case
        for path, tests in re.findall(r"\]\(\.\./\.\./([^)]+)\): ([^;]+)", where):
            source = read(path)
            for test in CODE.findall(tests):
                assert f"def {test}(" in source, f"{path} has no {test}"


def test_the_readme_shows_the_examples() -> None:
    """What the README shows is, to the letter, what can be started from the examples."""
    readme = read("README.md")
    for example in ("plain_python.py", "django_shop/myshop/lapsing.py"):
        source = read(f"examples/{example}")
        assert source in readme or f"```python\n{_without_comment(source)}" in readme, example


def _without_comment(source: str) -> str:
    return source.split("\n\n", 1)[1] if source.startswith("#") else source
