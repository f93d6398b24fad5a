"""What a ticket points at, and the map of a tree."""

from ringfence.domain.codemap import draw, mentioned, outline, rank_hits, rank_paths, search_words

PATHS = ("src/app/reorder.py", "src/app/report.py", "docs/report.py", "README.md", ".github/ci.yml", "a b/x.py")


def test_paths_are_found_when_they_are_named_exactly_or_by_a_name_that_is_unique() -> None:
    text = (
        "In `src/app/report.py:12` and reorder.py, see ./README.md. Not report.py, ../../etc/passwd or .github/ci.yml."
    )
    assert mentioned(text, PATHS) == ("src/app/report.py", "src/app/reorder.py", "README.md", ".github/ci.yml")


def test_words_worth_searching_look_like_code_or_are_quoted() -> None:
    text = (
        'The function `suggest` calls round_up() and StockLevel; "low stock" is wrong. Please fix the value total(x).'
    )
    assert search_words(text) == ("suggest", "round_up", "StockLevel", "low stock", "total")
    assert search_words("please fix the thing") == ()
    assert len(search_words(" ".join(f"name_{n}" for n in range(100)))) == 20


def test_hits_with_rare_words_are_kept_first() -> None:
    common = [("a.py", n, "item = item") for n in range(1, 50)]
    rare = ("z.py", 3, "item = round_up(x)")
    kept = rank_hits([*common, rare], ("item", "round_up"), 5)
    assert rare in kept
    assert kept == tuple(sorted(kept)) and len(kept) == 5


def test_paths_that_the_ticket_points_at_lead_the_map() -> None:
    sizes = dict.fromkeys(PATHS, 10)
    ranked = rank_paths(sizes, ("docs/report.py",), ("src/app/report.py",) * 3)
    assert ranked[:3] == ("docs/report.py", "src/app/report.py", "README.md")
    assert sorted(ranked) == sorted(PATHS)


def test_an_outline_names_what_a_python_file_defines() -> None:
    source = "import os\n\nclass Stock:\n    def __init__(self): ...\n    def take(self): ...\n    def put(self): ...\n"
    source += "\nasync def load(path):\n    def inner(): ...\n\nclass Empty: ...\n"
    assert outline("a.py", source) == "class Stock.take,put; def load; class Empty"
    assert outline("a.js", source) == ""
    assert outline("a.py", "\0" * 10 + "(" * 100_000) == ""


def test_a_map_is_bounded_and_counts_what_it_leaves_out() -> None:
    sizes = {"a.py": 5, "b.py": 6, "c.py": 7}
    assert draw(sizes, sizes, {"a.py": "def f"}, 1_000) == "a.py (5 bytes): def f\nb.py (6 bytes)\nc.py (7 bytes)"
    assert draw(sizes, sizes, {}, 20) == "a.py (5 bytes)\n... and 2 more files"
